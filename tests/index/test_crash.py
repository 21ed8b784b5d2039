"""Whatever stops a writer, at whatever moment: the index that is opened next is the old one or the new one."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from index.clustered import clustered_items
from index.faults import Died, FaultyStorage

from flmr import Index, Passage
from flmr.errors import NotAnIndex, StorageError
from flmr.index.store import Storage

ITEMS = clustered_items(12, 4, rows=(0, 3))
MORE = clustered_items(3, 4, seed=5)
QUERY = np.ones((2, 4), np.float32)


def passage(item_id: str) -> Passage:
    return Passage(item_id, f"text of {item_id}", meta={"n": len(item_id)})


def build(path: Path, storage: Storage | None = None, **settings: object) -> Index:
    ids = [f"p{i}" for i in range(len(ITEMS))]
    return Index.create(
        path, ITEMS, ids, map(passage, ids), storage=storage, nbits=2, sample_queries=[QUERY], **settings
    )  # type: ignore[arg-type]


def create(path: Path, storage: Storage) -> None:
    build(path, storage).close()


def overwrite(path: Path, storage: Storage) -> None:
    Index.create(path, MORE, ["x", "y", "z"], nbits=4, overwrite=True, storage=storage).close()


def add(path: Path, storage: Storage) -> None:
    with Index.open(path, storage=storage) as ix:
        ix.add(MORE, ["x", "y", "z"], map(passage, "xyz"))
        ix.commit()


def delete(path: Path, storage: Storage) -> None:
    with Index.open(path, storage=storage) as ix:
        ix.delete(["p1", "p5"])
        ix.commit()


def update(path: Path, storage: Storage) -> None:
    with Index.open(path, storage=storage) as ix:
        ix.update(MORE[:2], ["p2", "p3"])
        ix.delete("p4")
        ix.commit()


def merge(path: Path, storage: Storage) -> None:
    with Index.open(path, storage=storage) as ix:
        ix.merge()


def mixed(path: Path, storage: Storage) -> None:
    """All of them in one commit, on vectors that are kept."""
    with Index.open(path, storage=storage) as ix:
        ix.update(MORE[:1], ["p2"])
        ix.add(MORE, ["x", "y", "z"], map(passage, "xyz"))
        ix.delete(["p4", "x"])
        ix.commit()


def calibrate(path: Path, storage: Storage) -> None:
    """With other sample queries."""
    with Index.open(path, storage=storage) as ix:
        ix.calibrate([QUERY[:1], QUERY])


OPERATIONS: dict[str, Callable[[Path, Storage], None]] = {
    "create": create,
    "overwrite": overwrite,
    "add": add,
    "delete": delete,
    "update": update,
    "merge": merge,
    "mixed": mixed,
    "calibrate": calibrate,
}


def prepare(path: Path, operation: str) -> None:
    if operation != "create":
        ix = build(path, FaultyStorage(), keep_vectors=operation == "mixed")
        if operation == "merge":
            ix.add(MORE, ["x", "y", "z"])
            ix.delete("p0")
            ix.commit()
        ix.close()


def state(path: Path) -> object:
    """What a reader sees: ids, vectors, passages and a search; None where there is no index yet."""
    try:
        ix = Index.open(path)
    except NotAnIndex:
        return None
    with ix:
        assert ix.verify() == []
        hits = [(hit.id, round(hit.score, 5), hit.passage) for hit in ix.search(QUERY, 50)[0]]
        return sorted(ix.ids()), hits, [ix.vectors(item_id).round(5).tolist() for item_id in sorted(ix.ids())]


def chosen(calls: list[str], every: int, first: int) -> list[int]:
    """Every n-th call, and all around the commit itself."""
    commit = next(i for i, call in enumerate(calls) if call.startswith("rename"))
    return sorted({*range(first, len(calls), every), *range(commit - 3, min(commit + 3, len(calls)))})


def states_of(tmp_path: Path, operation: str) -> tuple[object, object, list[str]]:
    """The state before, the state after, and the system calls between."""
    path = tmp_path / "whole"
    prepare(path, operation)
    before = state(path)
    storage = FaultyStorage()
    OPERATIONS[operation](path, storage)
    return before, state(path), storage.calls


def stop_everywhere(tmp_path: Path, operation: str, kind: str, every: int, first: int) -> None:
    before, after, calls = states_of(tmp_path, operation)
    prepare(tmp_path / "base", operation)
    seen = []
    for fail_at in chosen(calls, every, first):
        path = tmp_path / "index"
        if (tmp_path / "base").exists():
            shutil.copytree(tmp_path / "base", path)
        storage = FaultyStorage(fail_at, kind)
        with pytest.raises(Died):
            OPERATIONS[operation](path, storage)
        if kind == "power":
            storage.lose_unsynced(tmp_path)
        seen.append(state(path) if path.exists() else None)
        assert seen[-1] in (before, after), f"neither old nor new after call {fail_at}: {storage.calls[-1]}"
        if fail_at % 7 == 0:  # and the next writer finds nothing in its way, and leaves nothing of it behind
            OPERATIONS["create" if seen[-1] is None else "overwrite"](path, FaultyStorage())
            assert len([entry for entry in path.iterdir() if entry.is_dir()]) == 1
        shutil.rmtree(path, ignore_errors=True)
    assert before in seen
    assert kind == "power" or after in seen


@pytest.mark.parametrize(("kind", "first"), [("killed", 0), ("power", 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_stopping_at_a_system_call_leaves_the_old_or_the_new_index(
    tmp_path: Path, operation: str, kind: str, first: int
) -> None:
    stop_everywhere(tmp_path, operation, kind, every=9, first=first)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["killed", "power"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_stopping_at_every_system_call_leaves_the_old_or_the_new_index(
    tmp_path: Path, operation: str, kind: str
) -> None:
    stop_everywhere(tmp_path, operation, kind, every=1, first=0)


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EIO, "input/output")])
@pytest.mark.parametrize("operation", ["create", "overwrite", "update", "merge", "mixed"])
def test_a_disk_that_refuses_is_a_clear_error_and_nothing_is_lost(
    tmp_path: Path, operation: str, code: int, words: str
) -> None:
    before, after, calls = states_of(tmp_path, operation)
    prepare(tmp_path / "base", operation)
    for fail_at in chosen(calls, 9, code % 9):
        path = tmp_path / "index"
        if (tmp_path / "base").exists():
            shutil.copytree(tmp_path / "base", path)
        try:
            OPERATIONS[operation](path, FaultyStorage(fail_at, "errno", code))
        except StorageError as error:
            assert words in str(error) and str(tmp_path) in str(error)
        found = state(path) if path.exists() else None
        assert found in (before, after), f"neither old nor new after call {fail_at}: {calls[fail_at]}"
        shutil.rmtree(path, ignore_errors=True)


def test_a_commit_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    before, after, calls = states_of(tmp_path, "add")
    first_of_commit = next(i for i, call in enumerate(calls) if call.startswith("open") and "ids" in call)
    for fail_at in chosen(calls, 5, first_of_commit):
        if calls[fail_at].startswith("fsync"):
            continue  # may not be tried again: tests/reliability/test_faults.py
        path = tmp_path / "index"
        prepare(path, "add")
        storage = FaultyStorage(fail_at, "errno")
        with Index.open(path, storage=storage) as ix:
            ix.add(MORE, ["x", "y", "z"], map(passage, "xyz"))
            try:
                ix.commit()
            except StorageError as error:
                if "committed, but" not in str(error):
                    assert state(path) == before
            storage.recover()
            ix.commit()
        assert state(path) == after
        shutil.rmtree(path)


def test_an_add_that_failed_leaves_earlier_adds_waiting(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path).close()
    storage = FaultyStorage()
    with Index.open(path, storage=storage) as ix:
        ix.add(MORE[:1], ["x"])
        storage.fail_at = len(storage.calls)
        storage.kind = "errno"
        with pytest.raises(StorageError):
            ix.add(MORE[1:], ["y", "z"])
        storage.recover()
        ix.commit()
        assert "x" in ix and "y" not in ix
        assert ix.verify() == []


WRITER = """
import sys, numpy as np
from flmr import Index
path, seed = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(seed)
with Index.open(path) as ix:
    print("ready", flush=True)
    for step in range(10_000):
        ids = [f"{seed}-{step}-{i}" for i in range(3)]
        ix.add([rng.standard_normal((4, 8)).astype("f4") for _ in ids], ids)
        ix.commit()
        print(step, flush=True)
        if step % 3 == 2:
            ix.delete(ids[:1]); ix.commit(); ix.merge()
"""


def test_killed_writers_lose_no_commit_that_they_reported(tmp_path: Path) -> None:
    path = tmp_path / "index"
    Index.create(path, clustered_items(5, 8), nbits=2).close()
    for seed in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(seed)], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.07 * seed)
        writer.send_signal(signal.SIGKILL)
        steps = [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.stdout.close()
        writer.wait()
        with Index.open(path) as ix:
            assert ix.verify() == []
            for step in steps:
                assert f"{seed}-{step}-2" in ix
            ix.add(clustered_items(1, 8), [f"after-{seed}"])  # the lock of a dead process does not hold
            ix.commit()
