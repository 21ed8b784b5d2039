"""What the file layer promises: nothing goes round it, and what a device refused once is not taken for stored."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from index.faults import FaultyStorage, _path_of
from index.test_crash import MORE, build, passage, state

from flmr import Index
from flmr.errors import StorageError


class ForgetfulStorage(FaultyStorage):
    """A device that, like Linux, drops what it could not write when fsync fails, and calls the next fsync a success."""

    def __init__(self) -> None:
        super().__init__(kind="errno", errno=errno.EIO)
        self._dirty: dict[Path, list[tuple[int, int]]] = {}
        self._kept: dict[Path, bytearray] = {}

    def sys_open(self, path: Path) -> int:
        self._dirty[path], self._kept[path] = [], bytearray()
        return super().sys_open(path)

    def sys_write(self, descriptor: int, data: memoryview, offset: int) -> int:
        written = super().sys_write(descriptor, data, offset)
        self._dirty.setdefault(_path_of(descriptor), []).append((offset, written))
        return written

    def sys_fsync(self, descriptor: int) -> None:
        path = _path_of(descriptor)
        dirty, self._dirty[path] = self._dirty.get(path, []), []
        super().sys_fsync(descriptor)
        if path in self._synced:
            data, kept = path.read_bytes(), self._kept[path]
            kept.extend(bytes(max(0, len(data) - len(kept))))
            for offset, size in dirty:
                kept[offset : offset + size] = data[offset : offset + size]
            self._synced[path] = bytes(kept[: len(data)])

    def sys_rename(self, source: Path, target: Path) -> None:
        super().sys_rename(source, target)
        self._kept[target] = self._kept.pop(source)


def change(ix: Index) -> None:
    ix.add(MORE, ["x", "y", "z"], map(passage, "xyz"))
    ix.update(MORE[:1], ["p2"])
    ix.delete("p4")


@pytest.mark.parametrize("settings", [{}, {"keep_vectors": True}])
def test_a_failed_fsync_is_never_made_good_by_trying_again(tmp_path: Path, settings: dict[str, bool]) -> None:
    build(tmp_path / "base", FaultyStorage(), **settings).close()
    before = state(tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    storage = ForgetfulStorage()
    with Index.open(tmp_path / "whole", storage=storage) as ix:
        change(ix)
        ix.commit()
    after = state(tmp_path / "whole")
    syncs = [number for number, call in enumerate(storage.calls) if call.startswith("fsync")]
    refused = 0
    for fail_at in syncs:
        path = tmp_path / "index"
        shutil.copytree(tmp_path / "base", path)
        storage, committed = ForgetfulStorage(), False
        with Index.open(path, storage=storage) as ix:
            try:
                storage.fail_at = fail_at
                change(ix)
                ix.commit()
            except StorageError as error:
                committed = "committed, but" in str(error)
            storage.recover()
            try:
                ix.commit()
            except StorageError as error:
                assert "add it again" in str(error) and not committed
                refused += 1
        storage.lose_unsynced(tmp_path)
        found = state(path)
        assert found in (before, after), storage.calls[fail_at]
        shutil.rmtree(path)
    assert 0 < refused < len(syncs)


EVENTS = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
import numpy as np
from index.faults import FaultyStorage
from index.test_crash import OPERATIONS, prepare
folder = Path(sys.argv[1])
changes = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
seen = []
def hear(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            seen.append(("open", Path(os.fsdecode(arguments[0]))))
    elif event in changes and isinstance(arguments[0], (str, bytes, os.PathLike)):
        seen.append((event.removeprefix("os.").replace("remove", "unlink"), Path(os.fsdecode(arguments[0]))))
    elif event.startswith("shutil.") or event == "tempfile.mkstemp":
        seen.append((event, Path(os.fsdecode(arguments[0]))))
sys.addaudithook(hear)
for operation, perform in OPERATIONS.items():
    path = folder / operation
    prepare(path, operation)
    storage = FaultyStorage()
    del seen[:]
    perform(path, storage)
    through = [call.split(" ", 1) for call in storage.calls]
    known = {(name, Path(target)) for name, target in through if name != "rename"} | {
        ("rename", Path(target + ".new")) for name, target in through if name == "rename"
    }
    beside = [entry for entry in seen if entry not in known and entry[1].name != "writer.lock"]
    assert not beside, (operation, beside)
    assert any(name == "open" for name, _ in seen) and any(name == "rename" for name, _ in seen), operation
    for name in ("open", "mkdir", "unlink", "rmdir", "rename"):
        print(operation, name, sum(kind == name for kind, _ in seen))
"""


def test_nothing_changes_the_folder_but_the_file_layer_and_the_lock(tmp_path: Path) -> None:
    """So a fault in each of its calls is a fault at every moment there is."""
    done = subprocess.run(
        [sys.executable, "-c", EVENTS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "merge rmdir 0" not in done.stdout and "create mkdir 0" not in done.stdout


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EMFILE])
def test_each_refusal_of_the_system_has_a_remedy(tmp_path: Path, code: int) -> None:
    build(tmp_path / "ix").close()
    storage = FaultyStorage(0, "errno", code)
    with Index.open(tmp_path / "ix", storage=storage) as ix:
        with pytest.raises(StorageError, match=str(tmp_path)) as raised:
            ix.add([np.ones((1, 4), np.float32)], ["x"])
        assert raised.value.errno == code and ": " in str(raised.value)
        storage.recover()
        ix.add([np.ones((1, 4), np.float32)], ["x"])
        ix.commit()
        assert "x" in ix and ix.verify() == []
