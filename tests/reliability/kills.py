"""kill -9 at random moments of every operation, and what the next process finds.

Knows operations, and what an index holds before and after each.  A writer is a child that is killed at a moment drawn
evenly from the time such work was measured to take.  Another child then opens the folder: it must find the state of the
last commit that had returned, or the one that was being made, sound in every byte; and the writer after that goes on.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401  # here, so that the children need not
from reliability.contents import Settings, State, arguments, difference
from reliability.forks import Child, run
from reliability.samples import pick

from flmr import Index
from flmr.errors import NotAnIndex
from flmr.index.format import is_own_entry
from flmr.index.manifest import read_manifest
from flmr.index.writer import entries_of

SETTINGS = (
    Settings(2),
    Settings(0),
    Settings(4, keep_vectors=True),
    Settings(8, passages=False),
    Settings(3, large=True),
)
KILLS_A_LIFE = 40  # then a new folder, with the next settings
UNTOUCHED = 6  # of so many writers one is left alone: it measures, and must leave nothing behind
OPERATIONS = ("overwrite", "add", "add", "delete", "update", "merge", "mixed", "calibrate")
MOST_ITEMS = 60
PATIENCE_S = 60.0

Change = tuple[str, State, list[str]]  # operation, items that it brings, ids that it deletes


def planned(rng: np.random.Generator, state: State | None, number: int) -> list[tuple[Change, State]]:
    """One to three changes, each a commit, with the state after it."""
    plan = []
    for step in range(int(rng.integers(1, 4))):
        operation = "create" if state is None else pick(rng, list(OPERATIONS))
        if state is not None and (len(state) > MOST_ITEMS or not state) and operation not in ("merge", "calibrate"):
            operation = "overwrite"
        change, state = _change(rng, operation, state or {}, version=number * 10 + step)
        plan.append((change, state))
    return plan


def _change(rng: np.random.Generator, operation: str, state: State, version: int) -> tuple[Change, State]:
    fresh = {f"{version}-{i}": version for i in range(int(rng.integers(1, 12)))}
    some = sorted(state)[:: int(rng.integers(2, 5))]
    if operation in ("create", "overwrite"):
        return (operation, fresh, []), fresh
    if operation == "add":
        return (operation, fresh, []), {**state, **fresh}
    if operation == "delete":
        return (operation, {}, some), {key: value for key, value in state.items() if key not in some}
    if operation == "update":
        changed = dict.fromkeys(some, version)
        return (operation, changed, []), {**state, **changed}
    if operation in ("merge", "calibrate"):
        return (operation, {}, []), state
    kept = {key: value for key, value in state.items() if key not in some}
    return (operation, fresh, some), {**kept, **fresh}


def perform(folder: Path, plan: list[Change], settings: Settings, finished: mmap.mmap) -> None:
    """The changes in turn; `finished` counts the commits that have returned."""
    with settings.writing():
        _perform(folder, plan, settings, finished)


def _perform(folder: Path, plan: list[Change], settings: Settings, finished: mmap.mmap) -> None:
    ix: Index | None = None
    for number, (operation, items, doomed) in enumerate(plan, 1):
        if operation in ("create", "overwrite"):
            if ix is not None:
                ix.close()
            ix = Index.create(
                folder,
                **arguments(items, settings),
                **settings.creation(),
                overwrite=operation == "overwrite",
            )
        else:
            ix = ix or Index.open(folder)
            if operation == "merge":
                ix.merge()
            if operation == "calibrate":
                ix.calibrate()
            if items:
                (ix.update if operation == "update" else ix.add)(**arguments(items, settings))
            if doomed:
                ix.delete(doomed)
            ix.commit()
        finished[0] = number
    if ix is not None:
        ix.close()


def found(folder: Path, states: list[State | None], settings: Settings) -> dict[str, Any]:
    """Which of the states an index is in (or what is wrong), and how many entries of dead writers lie about."""
    try:
        ix = Index.open(folder)
    except NotAnIndex:
        return {
            "state": states.index(None) if None in states else None,
            "why": "no index is there",
            "left": _left(folder),
        }
    with ix:
        problems = ix.verify()
        if problems:
            return {"state": None, "why": f"verify says {problems}", "left": _left(folder)}
        why = []
        for number, state in enumerate(states):
            trouble = difference(ix, state, settings) if state is not None else "an index is there"
            if trouble is None:
                return {"state": number, "why": None, "left": _left(folder)}
            why.append(f"state {number}: {trouble}")
    return {"state": None, "why": "; ".join(why), "left": _left(folder)}


def _left(folder: Path) -> int:
    """Entries that no commit names."""
    if not folder.is_dir():
        return 0
    try:
        named = entries_of(read_manifest(folder))
    except NotAnIndex:
        named = {"writer.lock"}
    return sum(is_own_entry(entry.name) and entry.name not in named for entry in folder.iterdir())


def campaign(*, seconds: float | None = None, count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """So many kills, or kills for so long."""
    driver = _Driver(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        while (count is None or driver.kills < count) and (seconds is None or time.monotonic() - began < seconds):
            if driver.failures:
                break  # the folder is not what the plan expects any more
            driver.turn(Path(scratch))
    return {
        "kills": driver.kills,
        **dict(sorted(driver.outcomes.items())),
        "median_ms": round(1000 * float(np.median([s for times in driver.times.values() for s in times] or [0]))),
        "failures": driver.failures,
        "seconds": round(time.monotonic() - began, 1),
    }


class _Driver:
    """One folder after the other, each written by one doomed child after the other."""

    def __init__(self, seed: int) -> None:
        self.kills = 0
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.times: dict[str, list[float]] = defaultdict(list)  # how long an operation took, where it was not killed
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._turn = 0
        self._state: State | None = None
        self._life = -1

    def turn(self, scratch: Path) -> None:
        """One writer, killed or not, and one reader after it."""
        if self.kills // KILLS_A_LIFE != self._life:
            self._life, self._state = self.kills // KILLS_A_LIFE, None
        folder, settings = scratch / f"life-{self._life}" / "ix", SETTINGS[self._life % len(SETTINGS)]
        self._turn += 1
        plan = planned(self._rng, self._state, self._turn)
        operations = "+".join(change[0] for change, _ in plan)
        states = [self._state, *(state for _, state in plan)]
        finished = mmap.mmap(-1, 1)
        expected = sum(float(np.median(self.times[change[0]] or [0])) for change, _ in plan)
        known = all(self.times[change[0]] for change, _ in plan)
        writer = Child(partial(perform, folder, [change for change, _ in plan], settings, finished))
        if known and self._turn % UNTOUCHED:
            time.sleep(float(self._rng.uniform(0, 1.05 * expected)))
            writer.kill()
        ended = writer.wait(PATIENCE_S)
        if ended.signal == 9:
            self.kills += 1
        elif ended.sound:
            for change, _ in plan:
                self.times[change[0]].append(ended.seconds / len(plan))
        else:
            self._fail(f"{operations} {ended.why}")
            return
        reader = run(partial(found, folder, states, settings), patience_s=PATIENCE_S)
        if not reader.sound:
            self._fail(f"after {operations} the reader {reader.why}")
            return
        self._judge(reader.value, finished[0], operations, states, killed=ended.signal == 9)

    def _judge(
        self, found: dict[str, Any], finished: int, operations: str, states: list[State | None], *, killed: bool
    ) -> None:
        """Old or new, never less."""
        after = found["state"]
        # Equal states (a merge changes nothing that is seen) count as the first of them.
        allowed = [states[i] for i in range(finished, min(finished + 2, len(states)))]
        if after is None or states[after] not in allowed:
            self._fail(f"{operations} after {finished} commits: {found['why'] or f'found state {after}'}")
            return
        if not killed:
            self.outcomes["left alone"] += 1
            if found["left"]:
                self._fail(f"{operations} was not killed, and left {found['left']} entries behind")
        else:
            new = finished < len(states) - 1 and states[after] == states[finished + 1] != states[finished]
            self.outcomes["killed: new, before commit returned" if new else "killed: old"] += 1
            self.outcomes["killed: with a commit before" if finished else "killed: before any commit"] += 1
            self.outcomes["killed: files left behind"] += bool(found["left"])
        self._state = states[after]

    def _fail(self, what: str) -> None:
        self.failures.append(f"seed {self._seed}, turn {self._turn}, life {self._life}: {what}")
