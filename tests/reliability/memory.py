"""Memory: a search runs where a quarter of the index fits, and processes that have one index open share one copy of it.

Knows what the kernel says of a process in /proc.  A cgroup of a quarter of the index's bytes lets no more of it be in
memory at any moment: what is needed next pushes out what was needed before.  The count of the campaign is the size of
the index in MB.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401  # here, so that no child pays for it
from index.clustered import clustered_items
from reliability.cgroup import Cgroup, NoCgroup
from reliability.forks import Child, Ended, run
from reliability.samples import files_of

from flmr import Index, SearchParams

DIM = 128
NBITS = 4
BYTES_PER_VECTOR = 2 * DIM + DIM * NBITS // 8 + 3  # kept as float16; levels; code and scale
QUARTER = 4
PROCESSES = 8
PATIENCE_S = 500.0  # for a child, on a busy machine with a slow disk
WAYS = {"default": SearchParams(threads=2), "exact": SearchParams(exact=True, threads=2)}


def hindrance(folder: Path) -> str | None:
    """Why searches of an index in this folder cannot be confined here, None where they can."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [(len(mount), kind) for _, mount, kind, *_ in mounts if folder.resolve().is_relative_to(mount)]
    if max(below)[1] in ("tmpfs", "ramfs"):
        return f"{folder} lies in memory, from which nothing can be pushed out: set TMPDIR to a folder on a disk"
    try:
        Cgroup(1 << 30).close()
    except NoCgroup as error:
        return str(error)
    return None


def build(path: Path, megabytes: int, seed: int) -> None:
    """An index of about so many MB: clustered vectors in codes and as they were given."""
    base = clustered_items(1000, DIM, seed=seed, rows=(20, 60))
    vectors = megabytes * 1_000_000 // BYTES_PER_VECTOR

    def items() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(seed)
        made = 0
        while made < vectors:
            item = base[int(rng.integers(len(base)))]
            noise = rng.standard_normal(item.shape, dtype=np.float32) * (0.5 / np.sqrt(DIM))
            yield item + noise
            made += len(item)

    Index.create(path, items(), nbits=NBITS, keep_vectors=True).close()


def forget(path: Path) -> None:
    """Let the system's cache drop the files of an index, whoever has read them before."""
    for name in files_of(path):
        with (path / name).open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def queries(seed: int) -> list[np.ndarray]:
    """A few questions."""
    return [item[:16] for item in clustered_items(4, DIM, seed=seed, rows=(20, 60))]


def ask(path: Path, seed: int, enter: Callable[[], None] | None = None) -> dict[str, Any]:
    """Answers to every question in every way, with seconds a question and the most memory that was held.

    enter: called once everything is imported and before anything is opened.
    """
    if enter:
        enter()
    answers, seconds = {}, {}
    with Index.open(path) as ix:
        for way, params in WAYS.items():
            start = time.perf_counter()
            found = [ix.search([query], 10, params=params)[0] for query in queries(seed)]
            seconds[way] = (time.perf_counter() - start) / len(found)
            answers[way] = [[(hit.id, hit.score) for hit in hits] for hits in found]
    return {"answers": answers, "seconds": seconds, "peak": status("VmHWM"), "anonymous": status("RssAnon")}


def copy(path: Path, enter: Callable[[], None]) -> int:
    """What a search must not do: hold the vectors in memory of its own."""
    enter()
    return sum(len(bytearray((path / name).read_bytes())) for name in files_of(path))


def status(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def share(path: Path, seed: int, barrier: Barrier) -> dict[str, int]:
    """Search beside others; then what the maps of the index take, and what is this process's own."""
    with Index.open(path) as ix:
        for params in WAYS.values():
            ix.search(queries(seed), 10, params=params)
        barrier.wait(PATIENCE_S)  # all have read everything
        held = {"Rss": 0, "Pss": 0}
        of_index = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            name, *rest = line.split()
            if not name.endswith(":"):
                of_index = len(rest) > 4 and rest[4].startswith(str(path))
            elif of_index and name[:-1] in held:
                held[name[:-1]] += int(rest[0]) * 1024
        own = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
        barrier.wait(PATIENCE_S)  # all have looked
    return {**held, "own": int(own["Private_Dirty"].split()[0]) * 1024}


def campaign(*, seconds: float | None = None, count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """An index of `count` MB, asked in a quarter of its bytes and by eight processes at once."""
    assert count is not None and seconds is None, "this campaign is measured in MB: --count"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch).resolve() / "ix"
        built = run(partial(build, path, count, seed), patience_s=10 * PATIENCE_S)
        assert built.sound, built.why
        size = sum((path / name).stat().st_size for name in files_of(path))
        failures: list[str] = []
        shared = sharing(path, size, seed, failures)
        hindered = hindrance(path)
        failures += [hindered] if hindered else []
        limited = {} if hindered else quartered(path, size, seed, failures)
    return {"index_mb": _mb(size), **shared, **limited, "failures": failures}


def quartered(path: Path, size: int, seed: int, failures: list[str]) -> dict[str, Any]:
    """The same questions with all of memory and with a quarter of the index's size: the same answers?"""
    free = run(partial(ask, path, seed), patience_s=PATIENCE_S)
    figures: dict[str, Any] = {}
    limit = size // QUARTER
    limited, peak, met = _confined(path, limit, lambda enter: ask(path, seed, enter))
    if not (free.sound and limited.sound):
        failures.append(f"asked freely: {free.why}; in {_mb(limit)} MB: {limited.why}")
        return figures
    if limited.value["answers"] != free.value["answers"]:
        failures.append("answers differ with a quarter of the memory")
    if not met:
        failures.append("the limit was never met: nothing was shown")
    for name, ended in (("free", free), ("limited", limited)):
        figures |= {f"{name}: {way}_s": round(s, 3) for way, s in ended.value["seconds"].items()}
        figures |= {f"{name}: {what}_mb": _mb(ended.value[what]) for what in ("peak", "anonymous")}
    copied, _, _ = _confined(path, limit, lambda enter: copy(path, enter))
    if copied.signal != 9:
        failures.append("the limit is none: a process that copies the index into memory of its own was not killed")
    return {"limit_mb": _mb(limit), "limit: peak_mb": _mb(peak), "limit: times met": met, **figures}


def _confined(path: Path, limit: int, task: Callable[[Callable[[], None]], Any]) -> tuple[Ended, int, int]:
    """A task in a child in a new cgroup, files not in the cache: how it ended, its peak, how often it was full."""
    cgroup = Cgroup(limit)
    try:
        forget(path)
        ended = run(partial(task, cgroup.enter), patience_s=PATIENCE_S)
        return ended, cgroup.peak(), cgroup.met()
    finally:
        cgroup.close()


def sharing(path: Path, size: int, seed: int, failures: list[str]) -> dict[str, Any]:
    """Eight processes with the index open, each having read nearly all of it: how many copies are there?"""
    barrier = multiprocessing.get_context("fork").Barrier(PROCESSES)
    children = [Child(partial(share, path, seed, barrier)) for _ in range(PROCESSES)]
    ended = [child.wait(PATIENCE_S) for child in children]
    failures += [f"one of {PROCESSES} processes: {end.why}" for end in ended if not end.sound]
    held = [end.value for end in ended if end.sound]
    rss, pss = (sum(each[name] for each in held) for name in ("Rss", "Pss"))
    if rss < PROCESSES * size / 2:
        failures.append(f"{PROCESSES} processes hold {_mb(rss)} MB of the index: they have not read it")
    if pss > 1.05 * size:
        failures.append(f"{PROCESSES} processes take {_mb(pss)} MB for one index of {_mb(size)} MB")
    return {
        "processes": PROCESSES,
        "maps of all: rss_mb": _mb(rss),
        "maps of all: pss_mb": _mb(pss),
        "own memory of each, at most_mb": _mb(max((each["own"] for each in held), default=0)),
    }


def _mb(size: float) -> float:
    return round(size / 1e6, 1)
