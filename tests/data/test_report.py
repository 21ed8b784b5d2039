"""A report of reading says what was read and what was skipped."""

from __future__ import annotations

from flmr.data import ReadReport, Skipped


def test_a_report_says_how_many_and_names_the_first_lines() -> None:
    assert str(ReadReport(read=1476)) == "1,476 read, none skipped"
    skipped = [Skipped(i, "not JSON") for i in range(1, 6)]
    expected = "2 read, 5 skipped (line 1: not JSON; line 2: not JSON; line 3: not JSON; and 2 more)"
    assert str(ReadReport(2, skipped)) == expected


def test_a_row_of_parquet_is_called_a_row() -> None:
    assert str(Skipped(3, "an empty id", "row")) == "row 3: an empty id"
