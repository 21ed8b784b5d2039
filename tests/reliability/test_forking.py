"""Processes that fork and spawn with an index in hand."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from reliability.samples import compressed

from flmr import Index

QUERY = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)

FORKS = """
import os, sys, threading, time
import numpy as np
from flmr import Index, SearchParams
query = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)

def ask(ix):
    return ix.search(query, 5, params=SearchParams(exact=True, threads=2)), ix.search(query, 5, where={"n": {"gte": 3}})

ix = Index.open(sys.argv[1])
wanted = ask(ix)
busy, stop, errors = [0], threading.Event(), []

def search():
    try:
        while not stop.is_set():
            with Index.open(sys.argv[1]) as own:  # its first search parses passages: a fork may meet it at that
                assert ask(own) == wanted and ask(ix) == wanted
            busy[0] += 1
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=search) for _ in range(3)]
for thread in threads:
    thread.start()
forks = 0
until = time.monotonic() + float(sys.argv[2])
while (not forks or not busy[0] or time.monotonic() < until) and not errors:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if ask(ix) == wanted:
                with Index.open(sys.argv[1]) as own:
                    status = 0 if ask(own) == wanted and own.verify() == [] else 2
        finally:
            os._exit(status)
    looks = 0
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        looks += 1
        if looks > 20_000:
            os.kill(child, 9)
            stop.set()
            sys.exit(f"fork {forks}: the child hangs")
        time.sleep(0.001)
    if ended[1] != 0:
        stop.set()
        sys.exit(f"fork {forks}: the child ended with {os.waitstatus_to_exitcode(ended[1])}")
    forks += 1
stop.set()
for thread in threads:
    thread.join()
assert not errors, errors
print(forks, busy[0])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forking") / "ix"
    compressed(path)
    return path


def found(path: Path) -> list[tuple[str, float]]:
    """What a process of its own finds; the path comes to it pickled."""
    with Index.open(path) as ix:
        return [(hit.id, hit.score) for hit in ix.search(QUERY, 5)[0]]


def test_a_spawned_process_finds_the_same(folder: Path) -> None:
    wanted = found(folder)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(found, (folder,)).get(300) == wanted


def test_children_forked_while_threads_search_find_the_same(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(folder), "3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    forks, searches = map(int, done.stdout.split())
    assert forks > 0 and searches > 0


def test_a_fork_that_meets_a_held_lock_goes_on(folder: Path) -> None:
    """The narrow case made certain: the lock of the passages is held by the parent at the moment of the fork."""
    with Index.open(folder) as ix:
        held = [view.segment.passages for view in ix._open().views]
        for passages in held:
            assert passages is not None
            passages._lock.acquire()
        child = os.fork()
        if child == 0:
            os._exit(0 if ix.passage("p7") is not None else 1)
        for passages in held:
            assert passages is not None
            passages._lock.release()
        for _ in range(2000):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            subprocess.run(["sleep", "0.01"], check=True)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child waits for a lock that nobody will free")
        assert status == 0
        assert ix.passage("p7") is not None
