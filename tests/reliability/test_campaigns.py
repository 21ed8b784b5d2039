"""The campaigns in short, each by the very command that makes the long runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from reliability import memory
from reliability.attempts import BATCH
from reliability.readers import THREADS
from reliability.samples import codes_only, compressed

from flmr import Index

TESTS = ROOT / "tests"
PATH = os.pathsep.join(
    filter(None, [os.environ.get("PYTHONPATH"), str(TESTS)])
)  # what is there first: an instrumented build


def python(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": PATH, **({"TMPDIR": str(folder)} if folder else {})},
        capture_output=True,
        text=True,
        check=False,
    )


def run_campaign(name: str, *options: object, folder: Path) -> dict[str, Any]:
    """Its figures; fails with its own words where it found anything."""
    done = python("-m", "reliability", name, *options, folder=folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["failures"] == []
    return figures


@pytest.mark.parametrize("build, far", [(compressed, "p39"), (codes_only, "p59")])
def test_the_samples_have_an_item_that_is_far(build: Callable[[Path], None], far: str, tmp_path: Path) -> None:
    build(tmp_path / "ix")
    with Index.open(tmp_path / "ix") as ix:
        searcher = ix.searcher()
        last = searcher.snapshot.views[-1].segment
        assert [last.ids[row] for row in searcher._far[last.name][0].tolist()] == [far]


def test_writers_that_are_killed_leave_the_old_or_the_new_state(tmp_path: Path) -> None:
    figures = run_campaign("kills", "--count", 25, folder=tmp_path)
    assert figures["kills"] == 25
    assert figures["killed: files left behind"] > 0, "no writer was in the middle of anything"


def test_damaged_files_are_refused_or_reported_and_never_end_the_process(tmp_path: Path) -> None:
    figures = run_campaign("damage", "--count", 2000, folder=tmp_path)
    assert figures["attempts"] == 2000
    assert figures["refused at open"] > 0 and figures["reported, answers right"] > 0


def test_hostile_files_are_refused_or_answered_and_lead_nowhere_else(tmp_path: Path) -> None:
    figures = run_campaign("hostile", "--count", 500, folder=tmp_path)
    assert min(figures["answered"], figures["refused"], figures["reported"]) > 0


def test_random_operations_agree_with_a_dict(tmp_path: Path) -> None:
    assert run_campaign("operations", "--count", 500, folder=tmp_path)["steps"] == 500


def test_readers_see_committed_states_while_writers_write_and_are_killed(tmp_path: Path) -> None:
    figures = run_campaign("readers", "--seconds", 6, folder=tmp_path)
    assert figures["readers"] == 32
    assert figures["answers"] >= figures["readers"] / THREADS  # how many more fit in is the machine's matter


def test_a_search_runs_in_a_quarter_of_the_index_and_processes_share_one_copy(tmp_path: Path) -> None:
    if hindrance := memory.hindrance(tmp_path):
        pytest.skip(hindrance)
    figures = run_campaign("memory", "--count", 96, folder=tmp_path)
    assert figures["limit: peak_mb"] <= figures["limit_mb"] + 0.1 < figures["index_mb"] / 3.9
    assert figures["maps of all: pss_mb"] < 1.05 * figures["index_mb"] < figures["maps of all: rss_mb"] / 6


def test_a_campaign_says_what_it_found(tmp_path: Path) -> None:
    """What fails in a child comes out as a failure with its attempt, and the run goes on after it."""
    script = """
import json, os, time
from reliability import attempts
attempts.STUCK_S = 2.0
def start():
    def attempt(number):
        if number == 3:
            os.abort()
        if number == 6:
            time.sleep(1000)
        return "even" if number % 2 == 0 else "odd", "five" if number == 5 else None
    return attempt
print(json.dumps(attempts.run_many(start, count=8)))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["attempts"] == 8 and figures["ended the process"] == 2
    aborted, hung = figures["failures"]
    assert aborted == "attempt 3: the process was killed by signal 6 (SIGABRT)"
    assert hung.startswith("attempt 6: the process hung for ")


def test_a_campaign_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """In the middle of a batch, which on a busy machine may take many times as long."""
    figures = run_campaign("damage", "--seconds", 0.2, folder=tmp_path)
    assert 0 < figures["attempts"] < BATCH


@pytest.mark.parametrize("arguments", [["kills"], ["nothing", "--count", "1"]])
def test_a_campaign_without_a_size_or_a_name_is_refused(arguments: list[str]) -> None:
    done = python("-m", "reliability", *arguments)
    assert done.returncode == 2 and "usage: python -m reliability" in done.stderr
