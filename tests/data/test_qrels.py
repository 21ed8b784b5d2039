"""Judgments come out of TREC and BEIR files; a bad line is named, counted and skipped, or stops a strict read."""

from __future__ import annotations

from pathlib import Path

import pytest

from flmr.data import ReadReport, Skipped, read_qrels
from flmr.errors import InvalidRecord


def write(folder: Path, text: str, name: str = "qrels") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "q1 0 a 1\nq1 0 b 0\nq2 0 a 3\n",
        "q1\t0\ta\t1\nq1\tQ0\tb\t0\r\n\nq2  0   a 3",
        "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tb\t0\nq2\ta\t3\n",
        "\ufeffquery_id\tpassage_id\tgrade\nq1\ta\t1\nq1\tb\t0\nq2\ta\t3\n",
        "q1\ta\t1\nq1\tb\t0\nq2\ta\t3\n",
    ],
)
def test_every_layout_gives_the_same_judgments(tmp_path: Path, text: str) -> None:
    assert read_qrels(write(tmp_path, text), strict=True) == {"q1": {"a": 1, "b": 0}, "q2": {"a": 3}}


def test_ids_between_tabs_may_hold_spaces(tmp_path: Path) -> None:
    assert read_qrels(write(tmp_path, "a question\ta passage\t1\n")) == {"a question": {"a passage": 1}}


def test_negative_grades_are_kept(tmp_path: Path) -> None:
    assert read_qrels(write(tmp_path, "q 0 a -2\n")) == {"q": {"a": -2}}


def test_a_folder_of_splits_is_read_together(tmp_path: Path) -> None:
    write(tmp_path, "query-id\tcorpus-id\tscore\nq1\ta\t1\n", "train.tsv")
    write(tmp_path, "query-id\tcorpus-id\tscore\nq2\ta\t1\n", "test.tsv")
    assert read_qrels(tmp_path) == {"q1": {"a": 1}, "q2": {"a": 1}}
    with pytest.raises(InvalidRecord, match=r"holds no \.tsv file"):
        read_qrels(write(tmp_path, "", "x").parent.parent / tmp_path.name / ".." / "..")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q a", "2 columns; TREC qrels have 4"),
        ("q 0 a 1 extra", "5 columns"),
        ("q 0 a yes", "the grade must be a whole number, not 'yes'"),
        ("q 0 a 0.5", "the grade must be a whole number, not '0.5'"),
        ("\ta\t1", "2 columns"),
        ("q\t\t1", "an empty id"),
        ("q1 0 a 2", "'q1' and 'a' are judged on line 1 of 'qrels' already"),
        ("query-id\tcorpus-id\tscore", "the grade must be a whole number"),
    ],
)
def test_a_bad_line_is_skipped_with_its_number_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path, f"q1 0 a 1\n{line}\nq2 0 a 1\n")
    report = ReadReport()
    assert read_qrels(path, report=report) == {"q1": {"a": 1}, "q2": {"a": 1}}
    assert report.read == 2 and report.skipped[0].line == 2 and reason in report.skipped[0].reason
    with pytest.raises(InvalidRecord, match="line 2: "):
        read_qrels(path, strict=True)


def test_bytes_that_are_not_utf_8_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(b"q 0 a 1\nq 0 \xff 1\n")
    report = ReadReport()
    assert read_qrels(path, report=report) == {"q": {"a": 1}}
    assert report.skipped == [Skipped(2, "not UTF-8 (byte 5 of the line)")]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="does not exist; check the path"):
        read_qrels(tmp_path / "nothing.tsv")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="holds no judgments"):
        read_qrels(write(tmp_path, "question,passage,grade\nq,a,1\n"))


def test_trec_and_beir_judgments_of_the_text_collection_agree(shared: Path) -> None:
    folder = shared / "data/text_ir"
    whole = read_qrels(folder / "qrels.trec", strict=True)
    assert whole == read_qrels(folder / "qrels.tsv", strict=True) == read_qrels(folder / "qrels", strict=True)
