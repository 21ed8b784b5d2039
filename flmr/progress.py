"""Progress of long work, on stderr.

Knows stages, counts and rates, and how to show them on a terminal or in a log.  Knows nothing of the work itself.
A stage is shown once the work has run for a moment, so that short work stays silent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TextIO

QUIET_S = 1.0  # work shorter than this prints nothing: a bar that flashes by only distracts
LOG_EVERY_S = 10.0  # outside a terminal a line a stage every ten seconds keeps a log readable


class Report(Protocol):
    """Called as report(stage, done, total) whenever work advances; total is None where it is not known."""

    def __call__(self, stage: str, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def reporting(
    progress: bool | Callable[[str, int, int | None], None], stream: TextIO | None = None
) -> Iterator[Report]:
    """A Report for the length of a block: the caller's own callable, bars or log lines (True), or silence (False)."""
    if callable(progress):
        given = progress
        yield lambda stage, done, total=None, /: given(stage, done, total)
        return
    if not progress:
        yield lambda stage, done, total=None, /: None
        return
    stream = stream or sys.stderr
    shown: _Bars | _Lines = _Bars(stream) if stream.isatty() and find_spec("rich") else _Lines(stream)
    try:
        yield shown.report
    finally:
        shown.close()


class _Lines:
    """One line per stage and interval: `encode 1,200/16,351 (7%), 96/s, 2:38 left`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stages: dict[str, tuple[float, float]] = {}  # stage -> (started, last printed)

    def report(self, stage: str, done: int, total: int | None = None, /) -> None:
        now = time.monotonic()
        started, printed = self._stages.get(stage, (now, now))
        finished = total is not None and done >= total and printed > started
        if finished or now - printed >= LOG_EVERY_S:
            print(progress_line(stage, done, total, now - started), file=self._stream, flush=True)
            printed = now
        self._stages[stage] = (started, printed)

    def close(self) -> None:
        self._stages.clear()


class _Bars:
    """Live bars of rich, one a stage, started after a moment."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._live: Any = None
        self._tasks: dict[str, Any] = {}

    def report(self, stage: str, done: int, total: int | None = None, /) -> None:
        if self._live is None:
            if time.monotonic() - self._started < QUIET_S:
                return
            self._live = self._start()
        if stage not in self._tasks:
            self._tasks[stage] = self._live.add_task(stage, total=total)
        self._live.update(self._tasks[stage], completed=done, total=total)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
        )
        live = Progress(*columns, console=Console(file=self._stream))
        live.start()
        return live


def progress_line(stage: str, done: int, total: int | None, seconds: float) -> str:
    """A stage in words: how far, how fast, and how long the rest will take."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f", {rate:,.0f}/s" if rate >= 1 else f", {seconds / done:,.1f} s each" if done else ""
    if total is None:
        return f"{stage} {done:,}{speed}"
    share = f" ({100 * done // total}%)" if total else ""
    left = f", {clock((total - done) / rate)} left" if rate > 0 and done < total else ""
    return f"{stage} {done:,}/{total:,}{share}{speed}{left}"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
