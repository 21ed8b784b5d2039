"""Many attempts in children that may die of one: which attempt it was is known, and the rest goes on in a new child."""

from __future__ import annotations

import math
import mmap
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from reliability.forks import Child

BATCH = 500  # attempts of one child, where each takes milliseconds
STUCK_S = 20.0  # an attempt takes milliseconds; one that takes so long has hung
ENOUGH = 20  # failures after which a run stops: more of them say no more

Attempt = Callable[[int], tuple[str, "str | None"]]  # number -> kind of outcome, and what was wrong if anything


def run_many(
    start: Callable[[], Attempt], *, seconds: float | None = None, count: int | None = None, batch: int = BATCH
) -> dict[str, Any]:
    """Attempts 0, 1, ... for so long or so many; `start` is called in each child and gives what makes an attempt.

    Returns how many there were of each outcome, `attempts`, `seconds` and `failures`, each a sentence.
    """
    began = time.monotonic()
    until = math.inf if seconds is None else began + seconds
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    number = 0
    while (count is None or number < count) and time.monotonic() < until:
        size = min(batch, count - number) if count else batch
        number = _batch(start, number, size, until, outcomes, failures)
        if len(failures) >= ENOUGH:
            break
    return {
        "attempts": number,
        **dict(sorted(outcomes.items())),
        "failures": failures,
        "seconds": round(time.monotonic() - began, 1),
    }


def _batch(
    start: Callable[[], Attempt], first: int, size: int, until: float, outcomes: Counter[str], failures: list[str]
) -> int:
    """Some attempts in one child, at least one and none begun after `until`; returns the number of the next one."""
    place = mmap.mmap(-1, 8)  # shared with the child: the attempt it is at

    def work() -> list[Any]:
        counted, wrong = Counter[str](), []
        attempt = start()
        done = first
        while done == first or (done < first + size and time.monotonic() < until):
            number, done = done, done + 1
            place[:] = struct.pack("<q", number)
            outcome, trouble = attempt(number)
            counted[outcome] += 1
            if trouble:
                wrong.append(f"attempt {number}: {trouble}")
        return [dict(counted), wrong, done]

    place[:] = struct.pack("<q", first)
    ended = Child(work).wait(STUCK_S, progress=lambda: place[:])
    if ended.sound:
        counted, wrong, done = ended.value
        outcomes.update(counted)
        failures.extend(wrong)
        return int(done)
    reached = int(struct.unpack("<q", place[:])[0])
    outcomes["ended the process"] += 1
    failures.append(f"attempt {reached}: the process {ended.why}")
    return reached + 1
