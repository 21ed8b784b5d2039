"""Readers while a writer writes: every answer is one committed state, whole, and what a generation holds never changes.

Knows what every generation holds, since it follows from its number alone.  Readers are threads of forked and of spawned
processes; the writer is killed every few seconds and another takes its place; a rival asks for the lock all the time.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import threading
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401  # here, so that the children need not
from reliability.contents import Settings, State, arguments, difference
from reliability.forks import Child, run

from flmr import Index, IndexLocked
from flmr.index import Searcher

SETTINGS = Settings(2, large=True)
THREADS = 4  # of each process that reads
MOST_ITEMS = 24
WRITER_LIVES_S = 4.0
GRACE_S = 300.0  # for everybody to end, on a machine so busy that 60 were once too few


def change_of(generation: int, state: State) -> tuple[State, list[str], State]:
    """What commit number so and so adds, replaces and deletes: (new or replaced items, deleted ids, state after it)."""
    rng = np.random.default_rng(generation)
    kind = generation % 5
    fresh = {f"{generation}-{i}": generation for i in range(int(rng.integers(2, 6)))}
    doomed = sorted(state)[:: 2 if len(state) > MOST_ITEMS else 7]
    if kind == 0:  # a merge
        return {}, [], state
    if kind == 2:
        return {}, doomed, {key: value for key, value in state.items() if key not in doomed}
    if kind == 3:
        replaced = dict.fromkeys(sorted(state)[::3], generation)
        return replaced, [], {**state, **replaced}
    if kind == 4:
        return fresh, doomed, {**{key: value for key, value in state.items() if key not in doomed}, **fresh}
    return fresh, [], {**state, **fresh}


class States:
    """What each generation holds, worked out in order and kept."""

    def __init__(self) -> None:
        self._known: list[State] = [{}]

    def __getitem__(self, generation: int) -> State:
        while len(self._known) <= generation:
            self._known.append(change_of(len(self._known), self._known[-1])[2])
        return self._known[generation]


def write(path: Path, until: float) -> list[int]:
    """Commit generation after generation; [how many, how often the lock was another's]."""
    states, commits, refused = States(), 0, 0
    with SETTINGS.writing(), Index.open(path) as ix:
        while time.monotonic() < until:
            try:
                ix.refresh()
                generation = ix.generation + 1
                items, doomed, _ = change_of(generation, states[generation - 1])
                if generation % 5 == 0:
                    ix.merge()
                if items:
                    (ix.update if generation % 5 == 3 else ix.add)(**arguments(items, SETTINGS))
                if doomed:
                    ix.delete(doomed)
                ix.commit()
            except IndexLocked:
                refused += 1
                time.sleep(0.005)
                continue
            assert ix.generation == generation, (ix.generation, generation)
            commits += 1
            trouble = difference(ix, states[generation], SETTINGS)
            assert trouble is None, f"the writer sees in generation {generation}: {trouble}"
    return [commits, refused]


def compete(path: Path, until: float) -> list[int]:
    """Ask for the lock, and give it back at once where it is free: [refused, got]."""
    refused = got = 0
    while time.monotonic() < until:
        with Index.open(path) as ix:
            try:
                ix.add([np.ones((1, SETTINGS.dim), np.float32)], ["never committed"])
                got += 1
            except IndexLocked:
                refused += 1
        time.sleep(0.02)
    return [refused, got]


def read(path: Path, until: float, seed: int) -> dict[str, Any]:
    """Readers in threads until then: {"answers", "generations", "errors"}."""
    counted: Counter[str] = Counter()
    errors: list[str] = []
    states = [States() for _ in range(THREADS)]
    seen: list[set[int]] = [set() for _ in range(THREADS)]
    shared = Index.open(path)

    def work(number: int) -> None:
        try:
            rng = np.random.default_rng((seed, number))
            held: list[Searcher] = []
            own, last = Index.open(path), 0
            while not counted["answers"] or time.monotonic() < until:
                way = int(rng.integers(4))
                if way == 0:  # a new Index
                    own.close()
                    own = Index.open(path)
                ix = shared if way == 1 else own
                ix.refresh()
                searcher = ix.searcher()
                if way == 3 and held:  # an old snapshot, whose files a merge may have removed long ago
                    searcher = held.pop(int(rng.integers(len(held))))
                elif ix is own:
                    assert searcher.generation >= last, "went back in time"
                    last = searcher.generation
                trouble = difference(searcher, states[number][searcher.generation], SETTINGS)
                assert trouble is None, f"generation {searcher.generation}: {trouble}"
                counted["answers"] += 1
                seen[number].add(searcher.generation)
                if len(held) < 3:
                    held.append(searcher)
            own.close()
        except BaseException:
            errors.append(traceback.format_exc()[-1500:])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    return {"answers": counted["answers"], "generations": len(set.union(*seen)), "errors": errors}


def read_spawned(path: Path, seconds: float, seed: int, report: Path) -> None:
    """`read` in a spawned process, into a file; the path came to it pickled."""
    report.write_text(json.dumps(read(path, time.monotonic() + seconds, seed)))


def campaign(
    *, seconds: float | None = None, count: int | None = None, seed: int = 0, readers: int = 32
) -> dict[str, Any]:
    """Readers and a writer for so long.  A third of the reading processes are spawned, the others forked."""
    assert seconds is not None and count is None, "this campaign is measured in seconds"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "ix"
        ended = run(lambda: _create(path))
        assert ended.sound, ended.why
        return _campaign(path, seconds, seed, max(1, readers // THREADS))


def _create(path: Path) -> None:
    with SETTINGS.writing():
        Index.create(path, **arguments(States()[1], SETTINGS), **SETTINGS.creation()).close()


def _campaign(path: Path, seconds: float, seed: int, processes: int) -> dict[str, Any]:
    until = time.monotonic() + seconds
    reports = [path.parent / f"report-{number}.json" for number in range(max(1, processes // 3))]
    context = multiprocessing.get_context("spawn")
    spawned = [
        context.Process(target=read_spawned, args=(path, seconds, seed + 1000 + number, report))
        for number, report in enumerate(reports)
    ]
    for process in spawned:
        process.start()
    forked = [Child(partial(read, path, until, seed + number)) for number in range(processes - len(spawned))]
    rival = Child(partial(compete, path, until))
    failures, commits, killed, refused = _writers(path, until)
    results = []
    for number, child in enumerate([*forked, rival]):
        ended = child.wait(GRACE_S)
        if not ended.sound:
            failures.append(f"{'the rival' if child is rival else f'reading process {number}'} {ended.why}")
        elif child is rival:
            rivals = ended.value
        else:
            results.append(ended.value)
    for process, report in zip(spawned, reports, strict=True):
        process.join(GRACE_S)
        if process.exitcode != 0:
            failures.append(f"a spawned reading process ended with {process.exitcode}")
            process.kill()
        else:
            results.append(json.loads(report.read_text()))
    last = run(lambda: _last(path))
    if not last.sound:
        failures.append(f"at the end: {last.why}")
    return {
        "readers": processes * THREADS,
        "answers": sum(result["answers"] for result in results),
        "commits": last.value if last.sound else None,
        "generations_seen_at_most": max((result["generations"] for result in results), default=0),
        "writers_killed": killed,
        "commits_reported": commits,
        "lock_refused": refused + (rivals[0] if not failures else 0),
        "failures": failures + [error for result in results for error in result["errors"]],
        "seconds": seconds,
    }


def _writers(path: Path, until: float) -> tuple[list[str], int, int, int]:
    """Writers in turn, each killed after a while, the last one left to end: failures, commits, kills, refusals."""
    failures, commits, killed, refused = [], 0, 0, 0
    while time.monotonic() < until and not failures:
        rest = until - time.monotonic()
        child = Child(partial(write, path, until))
        if rest > 1.5 * WRITER_LIVES_S:
            time.sleep(WRITER_LIVES_S)
            child.kill()
        ended = child.wait(max(0.0, until - time.monotonic()) + GRACE_S)
        if ended.sound:
            commits, refused = commits + ended.value[0], refused + ended.value[1]
        elif ended.signal == 9:
            killed += 1
        else:
            failures.append(f"the writer {ended.why}")
    return failures, commits, killed, refused


def _last(path: Path) -> int:
    """The last generation, which must be sound and hold what it should."""
    with Index.open(path) as ix:
        assert ix.verify() == []
        trouble = difference(ix, States()[ix.generation], SETTINGS)
        assert trouble is None, trouble
        return ix.generation
