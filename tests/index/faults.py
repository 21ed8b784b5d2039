"""A file layer that fails: at the n-th system call it is out of space, dies, or loses power."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from flmr.index.store import Storage


class Died(BaseException):
    """The process is gone: nothing after it runs, so no handler may touch the disk either."""


class FaultyStorage(Storage):
    """Counts the calls that change the disk and fails at one of them.

    kind "errno": that call, and those up to `recover`, raise OSError.  kind "killed": a write is half done, every later
    call raises Died; what was written stays.  kind "power": the same, and `lose_unsynced` then undoes whatever was not
    made durable.  fsync itself is only recorded: it is slow, and there is no real loss of power here.
    """

    def __init__(self, fail_at: int | None = None, kind: str = "killed", errno: int = 28) -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at
        self.kind = kind
        self.errno = errno
        self.failing = False
        self._durable: dict[Path, bytes | None] = {}  # contents of a file at its last fsync; None: no such name
        self._named: dict[Path, bytes | None] = {}  # what a name held when its folder was last synced
        self._synced: dict[Path, bytes] = {}

    def recover(self) -> None:
        """The disk works again."""
        self.failing, self.fail_at = False, None

    def sys_open(self, path: Path) -> int:
        self._call("open", path)
        self._remember(path)
        self._synced.pop(path, None)
        return super().sys_open(path)

    def sys_write(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self._due("write", _path_of(descriptor)):
            if self.kind != "errno":
                os.pwrite(descriptor, data[: len(data) // 2], offset)
            self._fail()
        return super().sys_write(descriptor, data, offset)

    def sys_truncate(self, descriptor: int, size: int) -> None:
        self._call("truncate", _path_of(descriptor))
        super().sys_truncate(descriptor, size)

    def sys_fsync(self, descriptor: int) -> None:
        path = _path_of(descriptor)
        self._call("fsync", path)
        if path.is_dir():
            for name in [name for name in self._named if name.parent == path]:
                del self._named[name]
        elif path.exists():
            self._synced[path] = path.read_bytes()

    def sys_rename(self, source: Path, target: Path) -> None:
        self._call("rename", target)
        self._remember(target)
        self._remember(source)
        super().sys_rename(source, target)
        if source in self._synced:
            self._synced[target] = self._synced.pop(source)

    def sys_mkdir(self, path: Path) -> None:
        self._call("mkdir", path)
        self._remember(path)
        super().sys_mkdir(path)

    def sys_unlink(self, path: Path) -> None:
        self._call("unlink", path)
        super().sys_unlink(path)
        self._named.pop(path, None)
        self._synced.pop(path, None)

    def sys_rmdir(self, path: Path) -> None:
        self._call("rmdir", path)
        super().sys_rmdir(path)
        self._named.pop(path, None)

    def lose_unsynced(self, folder: Path) -> None:
        """Leave on the disk only what was made durable: contents by fsync, names by fsync of their folder."""
        for path in sorted(folder.rglob("*"), reverse=True):
            if path in self._named:
                continue
            if path in self._opened() and path not in self._synced:
                path.write_bytes(b"")
            elif path in self._synced and path.exists():
                path.write_bytes(self._synced[path])
        for path, before in self._named.items():
            if before is not None:
                path.write_bytes(before)
            elif path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()

    def _opened(self) -> set[Path]:
        return {Path(call.split(" ", 1)[1]) for call in self.calls if call.startswith("open ")}

    def _remember(self, path: Path) -> None:
        if path not in self._named:
            self._named[path] = path.read_bytes() if path.is_file() else None

    def _call(self, name: str, path: Path) -> None:
        if self._due(name, path):
            self._fail()

    def _due(self, name: str, path: Path) -> bool:
        if self.fail_at == len(self.calls):
            self.failing = True
        self.calls.append(f"{name} {path}")
        return self.failing

    def _fail(self) -> None:
        if self.kind == "errno":
            raise OSError(self.errno, os.strerror(self.errno))
        raise Died


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
