"""The writer's lock: one writer at a time, across threads and processes.

Knows one file and the system's advisory lock on it.  Knows nothing of what the writer does.
The lock belongs to the open file, so the system frees it when its process dies, however it dies: a lock file that is
left behind never blocks.  Readers never touch it.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from flmr.errors import IndexLocked
from flmr.index.store import naming

# A forked child inherits the open file and with it the lock, and would keep it after its parent has died.  The only
# remedy is to close the copy in the child, so the locks that are held must be known to the fork handler.
_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """The exclusive right to write, from birth to `release`; raises IndexLocked naming the process that has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        self._descriptor: int | None = None
        self._descriptor = _acquire(path)
        _held.add(self)

    @property
    def held(self) -> bool:
        """Whether this process still holds it; a forked child never does."""
        return self._descriptor is not None and self._process == os.getpid()

    @property
    def intact(self) -> bool:
        """Whether the lock's file is still the one that was locked; if not, another may be writing too."""
        try:
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return False

    def check(self) -> None:
        """Raises IndexLocked unless the lock is intact."""
        if not self.intact:
            raise IndexLocked(
                f"{self.path} was removed or replaced while {self.path.parent} was being written, so that another"
                " process may write too: nothing was committed; close the index, open it and write again"
            )

    def release(self) -> None:
        """Let the next writer in; releasing twice is fine."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            if self._process == os.getpid():
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def drop_in_child(self) -> None:
        """Close a forked child's copy: the parent keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _acquire(path: Path) -> int:
    while True:
        with naming("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # emptied: never another's file
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = path.stat()
        except (BlockingIOError, FileNotFoundError) as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if isinstance(error, FileNotFoundError):
                continue  # the folder was replaced between open and lock
            raise IndexLocked(_locked(path, owner)) from None
        except OSError:
            os.close(descriptor)
            with naming("lock", path):
                raise
        if os.fstat(descriptor).st_ino == current.st_ino:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        os.close(descriptor)


def _locked(path: Path, owner: str) -> str:
    if owner == str(os.getpid()):
        return f"{path.parent} is being written by another Index of this process (pid {owner}): close that one first"
    who = f"another process (pid {owner or 'unknown'})"
    return f"{path.parent} is being written by {who}: wait for it or end it, then try again"


def _drop_in_child() -> None:
    for lock in list(_held):
        lock.drop_in_child()


os.register_at_fork(after_in_child=_drop_in_child)
