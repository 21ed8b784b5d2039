"""What a run shows while it works.

Knows stages, counts and the terminal; knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int | None], None]


@contextmanager
def shown(progress: bool | Progress) -> Iterator[Progress]:
    """The caller's own function, a bar with stage and time left on stderr (True), or silence (False)."""
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            kind = stage.partition(" · ")[0]  # what follows the dot changes from step to step
            if kind not in tasks:
                tasks[kind] = bars.add_task(stage, total=total)
            elif (bars.tasks[tasks[kind]].completed or 0) > done:
                bars.reset(tasks[kind], total=total)
            bars.update(tasks[kind], completed=done, total=total, description=stage)

        yield report
