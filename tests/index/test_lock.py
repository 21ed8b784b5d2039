"""One writer at a time, named to the others; a dead one holds nothing, and a forked child has no share in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from flmr import Index, IndexLocked
from flmr.errors import StorageError
from flmr.index.lock import WriterLock

HOLDER = """
import sys, time
from flmr import Index
ix = Index.open(sys.argv[1])
ix.delete("0")
print("held", flush=True)
time.sleep(60)
"""

ITEM = [np.ones((1, 4), np.float32)]


def test_the_holder_is_named(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "writer.lock")
    with pytest.raises(IndexLocked, match=rf"another Index of this process \(pid {os.getpid()}\)"):
        WriterLock(tmp_path / "writer.lock")
    lock.release()
    lock.release()
    assert not lock.held
    again = WriterLock(tmp_path / "writer.lock")
    assert again.held
    again.release()


def test_a_lock_is_freed_when_its_owner_is_forgotten(tmp_path: Path) -> None:
    WriterLock(tmp_path / "writer.lock")
    WriterLock(tmp_path / "writer.lock").release()
    Index.create(tmp_path / "ix", ITEM)  # never closed, but nobody holds it
    with Index.open(tmp_path / "ix") as ix:
        ix.delete("0")


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    Index.create(tmp_path / "ix", ITEM).close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "ix")], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert holder.stdout is not None
    with holder, Index.open(tmp_path / "ix") as ix:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(IndexLocked, match=f"pid {holder.pid}"):
            ix.add(ITEM, ["x"])
        assert len(ix) == 1
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "ix" / "writer.lock").read_text() == str(holder.pid)  # stale, and in nobody's way
        ix.add(ITEM, ["x"])
        ix.commit()
        assert ix.ids() == ["0", "x"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that forking beside threads may hang: the child only writes
def test_a_forked_child_has_no_share_in_the_lock(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEM) as ix:
        ix.add(ITEM, ["waiting"])
        child = os.fork()
        if child == 0:
            status = 1
            try:
                try:
                    ix.add(ITEM, ["from the child"])
                except IndexLocked as error:
                    status = 0 if f"pid {os.getppid()}" in str(error) else 2
                ix.close()  # must neither free the parent's lock nor sweep its unfinished files
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with Index.open(tmp_path / "ix") as other, pytest.raises(IndexLocked):
            other.delete("0")
        ix.commit()
        assert ix.ids() == ["0", "waiting"] and ix.verify() == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "writer.lock")
    reader, writer = os.pipe()
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.write(begun, b"x")
        os.read(reader, 1)  # until the parent is done
        os._exit(0)
    os.read(ready, 1)
    for descriptor in (reader, ready, begun):
        os.close(descriptor)
    os.close(lock._descriptor)  # as the death of the parent would  # type: ignore[arg-type]
    lock._descriptor = None
    WriterLock(tmp_path / "writer.lock").release()
    os.close(writer)
    os.waitpid(child, 0)


@pytest.mark.parametrize("another", [False, True])
def test_a_writer_whose_lock_was_removed_commits_nothing(tmp_path: Path, another: bool) -> None:
    with Index.create(tmp_path / "ix", ITEM) as ix:
        ix.add(ITEM, ["late"])
        (tmp_path / "ix" / "writer.lock").unlink()  # as somebody does who thinks that it is stale
        if another:
            with Index.open(tmp_path / "ix") as other:
                other.delete("0")
                other.add(ITEM, ["first"])
                other.commit()
        with pytest.raises((IndexLocked, StorageError)):
            ix.commit()
    with Index.open(tmp_path / "ix") as ix:
        assert ix.ids() == (["first"] if another else ["0"]) and ix.verify() == []
