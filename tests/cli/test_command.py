"""The command as a process: what goes to which stream, with which exit code, on good input and on bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Mistake, flmr, run_flmr
from conftest import ROOT

from flmr.index import Index


def test_wrong_input_is_one_line_and_exit_2(kb: Path, mistake: Mistake, tmp_path: Path) -> None:
    index = kb / "index"
    assert "--text, --image or both" in mistake("search", index)
    assert "does not exist" in mistake("search", index, "--image", kb / "gone.png")
    assert "truncated" in mistake("search", index, "--image", kb / "cut.png")
    assert "--where is not JSON" in mistake("search", index, "--text", "x", "--where", "{year}")
    assert "--where must be a JSON object" in mistake("search", index, "--text", "x", "--where", "3")
    assert "not both" in mistake("search", index, "--text", "x", "--queries", kb / "questions.jsonl")
    assert "--queries as well" in mistake("search", index, "--text", "x", "--run", tmp_path / "r")
    assert "nowhere" in mistake("delete", index, "nowhere")
    assert "nowhere" in mistake("explain", index, "--text", "x", "--id", "nowhere")
    assert "-k takes whole numbers" in mistake("evaluate", index, "--queries", kb / "questions.jsonl", "-k", "5,x")
    assert "give --queries FILE, or --recipe" in mistake("evaluate", index)
    assert "has no metadata 'year'" in mistake("evaluate", index, "--queries", kb / "questions.jsonl", "--by", "year")
    assert str(tmp_path) in mistake("info", tmp_path)
    assert "nowhere" in mistake("info", tmp_path / "nowhere")


def test_usage_errors_are_one_line_and_exit_2(mistake: Mistake) -> None:
    assert "--nbit" in mistake("index", "x", "--nbit", "3")
    assert "flmr search --help" in mistake("search")
    assert "serch" in mistake("serch")


def test_unforeseen_failure_is_exit_1_and_says_how_to_see_more(
    kb: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the unforeseen")

    monkeypatch.setattr(Index, "info", broken)
    assert "FLMR_DEBUG=1" in mistake("info", kb / "index", code=1)
    monkeypatch.setenv("FLMR_DEBUG", "1")
    assert flmr("info", kb / "index") == 1
    assert "in broken" in capsys.readouterr().err


def test_process_exit_codes_and_streams(kb: Path) -> None:
    done = run_flmr(["info", str(kb / "index"), "--json"])
    assert done.returncode == 0 and done.stderr == "" and json.loads(done.stdout)["items"] == 4
    done = run_flmr(["info", str(kb)])
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    done = run_flmr(["--version"])
    assert done.returncode == 0 and done.stdout.strip()


def test_help_is_instant_and_names_every_verb() -> None:
    done = run_flmr(["--help"])
    assert done.returncode == 0
    verbs = ("demo", "sample", "index", "add", "delete", "merge", "calibrate", "info", "verify", "search", "explain")
    assert all(f" {verb} " in done.stdout for verb in (*verbs, "evaluate", "train"))
    code = "import sys, flmr.cli; print(sorted(sys.modules.keys() & {'numpy', 'torch', 'pyarrow', 'PIL'}))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert heavy.stdout.strip() == "[]", f"flmr.cli imports {heavy.stdout} at the top"


def test_help_shows_no_value_after_an_option_that_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("index", "search", "evaluate"):
        assert flmr(verb, "--help") == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "--help" not in line]
        assert any("--json" in line for line in lines)
        assert not any("bool" in line.lower() for line in lines)


def test_closed_pipe_is_quiet(kb: Path) -> None:
    command = f"{sys.executable} -m flmr info {kb / 'index'} --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_interrupt_is_one_line_and_exit_130(tmp_path: Path) -> None:
    pipe = tmp_path / "p.jsonl"
    os.mkfifo(pipe)  # reading it waits for whoever writes, as a long build would
    process = subprocess.Popen(
        [sys.executable, "-m", "flmr", "evaluate", str(tmp_path), "--recipe", str(pipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # What a shell starts in the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with pipe.open("w"):  # returns once it is being read
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (130, "", "flmr: interrupted\n")
