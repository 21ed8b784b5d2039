"""A result row carries its birthplace."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import pytest
from json_lines import read_jsonl

from flmr.errors import InvalidInput, StorageError
from flmr.evaluate import evaluate_run, write_result
from flmr.evaluate.result import find_commit

REPORT = evaluate_run({"q": [("a", 1.0)]}, {"q": {"a": 1}}, ks=[1], num_passages=10)


def test_json_lines_take_one_line_a_report(tmp_path: Path) -> None:
    path = tmp_path / "results" / "r.jsonl"
    rows = [write_result(path, REPORT, command="flmr evaluate x", labels={"seed": s}) for s in (0, 1)]
    assert read_jsonl(path) == rows
    assert rows[1]["seed"] == 1 and rows[0]["command"] == "flmr evaluate x" and rows[0]["num_queries"] == 1
    assert rows[0]["measures"][0]["measure"] == "strict_recall@1" and rows[0]["date"].endswith("+00:00")
    assert rows[0]["machine"] and rows[0]["python"] and rows[0]["commit"]


def test_csv_takes_one_line_a_measure_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    for commit in ("abc", "def"):
        write_result(path, REPORT, command="a, b", commit=commit, labels={"split": "test"})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(REPORT.rows)
    assert (rows[0]["commit"], rows[-1]["commit"]) == ("abc", "def")
    assert rows[0]["command"] == "a, b" and rows[0]["split"] == "test" and float(rows[0]["value"]) == 1.0


def test_a_csv_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("date,value\n")
    with pytest.raises(InvalidInput, match="has the columns date, value; a row of date, commit"):
        write_result(path, REPORT, command="c")
    assert path.read_text() == "date,value\n"


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"written to \.jsonl or \.csv, not 'r\.json'"):
        write_result(tmp_path / "r.json", REPORT, command="c")


@pytest.mark.parametrize("label", ["commit", "num_queries", "measure", "measures"])
def test_a_label_that_would_hide_a_column_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(InvalidInput, match=f"a label must not be called {label}"):
        write_result(tmp_path / "r.jsonl", REPORT, command="c", labels={label: "x"})


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_result(tmp_path / "file" / "r.jsonl", REPORT, command="c")


def test_the_commit_says_whether_there_are_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        names = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        run = subprocess.run(["git", *names, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    assert find_commit(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    assert find_commit(tmp_path) == "unknown"
    git("add", "a")
    git("commit", "-q", "-m", "Add a")
    assert find_commit(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "a").write_text("2")
    assert find_commit(tmp_path).endswith("+changes")
    assert find_commit(tmp_path / "none") == "unknown"
