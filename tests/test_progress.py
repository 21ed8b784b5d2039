"""Progress: silent when short, lines in a log, and never on stdout."""

from __future__ import annotations

import io

import pytest

from flmr import progress
from flmr.progress import clock, progress_line, reporting


def test_line_tells_stage_share_rate_and_time_left() -> None:
    assert progress_line("encode", 1200, 16351, 10.0) == "encode 1,200/16,351 (7%), 120/s, 2:06 left"
    assert progress_line("fit", 3, None, 6.0) == "fit 3, 2.0 s each"
    assert progress_line("fit", 0, 10, 0.0) == "fit 0/10 (0%)"
    assert clock(3725) == "1:02:05"


def test_short_work_prints_nothing() -> None:
    stream = io.StringIO()
    with reporting(True, stream) as report:
        report("encode", 1, 2)
        report("encode", 2, 2)
    assert stream.getvalue() == ""


def test_long_work_prints_a_line_an_interval_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    with reporting(True, stream) as report:
        for done in range(1, 9):
            report("encode", done, 8)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["4/8", "7/8", "8/8"]


def test_callable_gets_every_report() -> None:
    seen: list[tuple[str, int, int | None]] = []
    with reporting(lambda *facts: seen.append(facts)) as report:
        report("encode", 1, 2)
        report("pack", 1)
    assert seen == [("encode", 1, 2), ("pack", 1, None)]
