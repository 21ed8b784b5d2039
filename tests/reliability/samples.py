"""Small indexes in which every kind of file there is occurs, and what lies in their folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from index.clustered import clustered_items, queries_near
from index.listed import as_if_large
from reliability.asking import question
from reliability.forks import run

from flmr import Index, Passage
from flmr.index.format import LOCK
from flmr.index.store import Storage

DIM = 8
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a file system without a disk, where there is one


class Unsynced(Storage):
    """Does not wait for the disk: for runs in which no power is lost."""

    def sys_fsync(self, descriptor: int) -> None:
        """Nothing."""


def passage(number: int) -> Passage:
    return Passage(f"p{number}", f"text {number}", "title" if number % 3 else "", meta={"n": number})


def far_item(rows: int) -> np.ndarray:
    """Rows that lie far from every centroid."""
    return 3 * np.random.default_rng(4).standard_normal((rows, DIM)).astype(np.float32)


def compressed(path: Path) -> None:
    """Two segments with codes, lists, sketches, gains, kept vectors and passages; some items deleted, one far."""
    items = [*clustered_items(39, DIM, rows=(0, 5)), far_item(3)]
    with (
        as_if_large(),
        Index.create(
            path,
            items[:30],
            passages=map(passage, range(30)),
            nbits=3,
            keep_vectors=True,
            sample_queries=[*queries_near(items, 4, rows=3), question(DIM)],  # which makes gains count when it is asked
            storage=Unsynced(),
        ) as ix,
    ):
        ix.add(items[30:], passages=map(passage, range(30, 40)))
        ix.delete(["p1", "p2"])
        ix.commit()


def codes_only(path: Path) -> None:
    """Two segments of codes, nothing beside them; one item is far."""
    items = [*clustered_items(59, DIM, rows=(1, 9), seed=2), far_item(9)]
    with Index.create(path, items[:50], [f"p{i}" for i in range(50)], nbits=4, storage=Unsynced()) as ix:
        ix.add(items[50:], [f"p{i}" for i in range(50, 60)])
        ix.commit()


def flat(path: Path) -> None:
    """One segment of float16 vectors, with deletions."""
    items = clustered_items(20, DIM, rows=(0, 4), seed=3)
    with Index.create(path, items, passages=map(passage, range(20)), nbits=0, storage=Unsynced()) as ix:
        ix.delete(["p3"])
        ix.commit()


SAMPLES: Mapping[str, Callable[[Path], None]] = {"compressed": compressed, "codes_only": codes_only, "flat": flat}


def files_of(path: Path) -> list[str]:
    """The files of an index, its lock not among them: nothing is ever read from that."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != LOCK)


def contents(path: Path) -> dict[str, bytes]:
    """What is in each of them."""
    return {name: (path / name).read_bytes() for name in files_of(path)}


class Copy:
    """A folder that holds given files and knows what it holds, so that only what changes is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, bytes] = {}
        self.forget()

    def hold(self, files: Mapping[str, bytes]) -> None:
        """Make the folder's files these.  What changes is written in place, as a failing disk would change it."""
        for name in self._held.keys() - files.keys():
            (self.folder / name).unlink()
        for name, data in files.items():
            if self._held.get(name) != data:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(data)
        self._held = dict(files)

    def forget(self) -> None:
        """Empty the folder, whatever has become of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self._held = {}


def made(scratch: Path) -> dict[str, dict[str, bytes]]:
    """The files of every sample, built in children."""
    files = {}
    for name, build in SAMPLES.items():
        ended = run(partial(build, scratch / name))
        assert ended.sound, ended.why
        files[name] = contents(scratch / name)
    return files


def pick(rng: np.random.Generator, values: list[str]) -> str:
    return values[int(rng.integers(len(values)))]
