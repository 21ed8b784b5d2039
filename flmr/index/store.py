"""The file layer: everything that an index writes, removes or maps goes through here.

Knows write, fsync, rename and fsync of the folder, and how to say that the system refused.  Knows nothing of what the
bytes mean.  The methods whose names begin with `sys_` are the only system calls that change anything: a subclass that
fails in one of them stands in for a full disk, a bad device or a loss of power.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flmr.errors import CorruptIndex, StorageError
from flmr.index.format import HEADER_BYTES, Array

BLOCK_BYTES = 1 << 20

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and try again",
    errno.EDQUOT: "the disk quota is used up: free some space and try again",
    errno.EFBIG: "the file would exceed the size limit of this system or process: raise it or use another disk",
    errno.EACCES: "no permission: give this user {access} access to the folder",
    errno.EPERM: "not permitted: give this user {access} access to the folder",
    errno.EROFS: "the file system is read-only: remount it or use another folder",
    errno.EIO: "the device reports an input/output error: check the disk, then run verify",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) or merge the index",
    errno.ENOENT: "it does not exist: was the folder removed?",
    errno.EEXIST: "something else has that name, such as a link to nowhere: remove it or choose another path",
    errno.ENOTDIR: "a part of the path is not a folder: choose another path",
    errno.ENAMETOOLONG: "a name in it is too long: choose a shorter one",
    errno.ELOOP: "it is a link, and an index holds none: copy the index with what its links name (cp -rL)",
}


@contextmanager
def naming(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the action, the path and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        access = "read" if action in ("read", "open") else "write"
        raised = StorageError(f"cannot {action} {path}: {remedy.replace('{access}', access)}")
        raised.errno = error.errno
        raise raised from error


class Storage:
    """The file system as an index uses it."""

    def sys_open(self, path: Path) -> int:
        """Create or empty a file for writing, never through a link; programs that are started do not inherit it."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)

    def sys_write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write at an offset; returns the bytes written, which may be fewer than were given."""
        return os.pwrite(descriptor, data, offset)

    def sys_truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to its first bytes."""
        os.ftruncate(descriptor, size)

    def sys_fsync(self, descriptor: int) -> None:
        """Make a file's, or a folder's, contents durable."""
        os.fsync(descriptor)

    def sys_rename(self, source: Path, target: Path) -> None:
        """Replace target by source, atomically."""
        source.replace(target)

    def sys_mkdir(self, path: Path) -> None:
        """Make a folder."""
        path.mkdir()

    def sys_unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sys_rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def create(self, path: Path) -> StoredFile:
        """A new, empty file that is written in pieces."""
        with naming("create", path):
            return StoredFile(self, path, self.sys_open(path))

    def create_nameless(self, path: Path) -> StoredFile:
        """A file for passing use: it has no name any more, so it is gone once it is closed, even by a kill."""
        file = self.create(path)
        try:
            self.remove(path)
        except BaseException:
            file.close()
            raise
        return file

    def write(self, path: Path, data: bytes | np.ndarray) -> None:
        """Write a whole file once and make it durable."""
        file = self.create(path)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()

    def write_array(self, path: Path, values: np.ndarray, kind: Array) -> None:
        """Write an array as `.npy` and make it durable."""
        file = self.create(path)
        try:
            file.append(kind.header)
            file.append(np.ascontiguousarray(values, kind.dtype))
            file.sync()
        finally:
            file.close()

    def replace(self, path: Path, draft: Path, data: bytes) -> None:
        """Replace a file atomically and durably: write beside it, fsync, rename, fsync the folder."""
        self.write(draft, data)
        with naming("replace", path):
            self.sys_rename(draft, path)
        self.sync_folder(path.parent)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        with naming("sync", path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                self.sys_fsync(descriptor)
            finally:
                os.close(descriptor)

    def make_folder(self, path: Path) -> None:
        """Make a folder, and those above it where they are missing."""
        for folder in [*reversed(path.parents), path]:
            if not folder.is_dir():
                with naming("create", folder):
                    self.sys_mkdir(folder)
                self.sync_folder(folder.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder of files; what is already gone is fine."""
        with naming("remove", path):
            try:
                if path.is_dir() and not path.is_symlink():
                    for entry in sorted(path.iterdir()):
                        self.sys_unlink(entry)
                    self.sys_rmdir(path)
                else:
                    self.sys_unlink(path)
            except FileNotFoundError:
                return


class StoredFile:
    """A file that is being written: rows are appended, the header is put in front at the end."""

    def __init__(self, storage: Storage, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._storage = storage
        self._descriptor: int | None = descriptor
        self._doubtful = False

    def append(self, data: bytes | np.ndarray) -> None:
        """Write at the end.  If that fails, `size` still names the end before: cut back to it or write again."""
        self.size = self._put(data, self.size)

    def put(self, data: bytes, offset: int) -> None:
        """Write over a place that was reserved, such as the header."""
        self._put(data, offset)

    def cut(self, size: int) -> None:
        """Forget what was appended after `size` bytes."""
        with naming("truncate", self.path):
            self._storage.sys_truncate(self._open(), size)
        self.size = size

    def view(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A read-only map of the rows that were appended after the header."""
        with naming("read", self.path), os.fdopen(os.dup(self._open()), "rb") as file:
            return np.asarray(np.memmap(file, dtype, "r", HEADER_BYTES, shape))

    def lines(self, start: int = 0) -> Iterator[bytes]:
        """The lines that were appended, from the one that begins at `start`."""
        rest, place = b"", start
        while place < self.size:
            with naming("read", self.path):
                block = os.pread(self._open(), min(BLOCK_BYTES, self.size - place), place)
            place += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines

    def sync(self) -> None:
        """Make the contents durable.  Once the system has refused that, it is refused for good.

        Linux drops what it could not write and calls the next fsync a success: to try again would lose rows unnoticed.
        """
        if self._doubtful:
            raise StorageError(
                f"cannot sync {self.path}: the device has refused it before, so what was added since the last commit"
                " may be lost: close the index, check the disk, and add it again"
            )
        try:
            with naming("sync", self.path):
                self._storage.sys_fsync(self._open())
        except BaseException:
            self._doubtful = True
            raise

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _put(self, data: bytes | np.ndarray, offset: int) -> int:
        if isinstance(data, np.ndarray):
            view = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        else:
            view = memoryview(data)
        while len(view):
            with naming("write", self.path):
                written = self._storage.sys_write(self._open(), view[: 1 << 30], offset)
            offset += written
            view = view[written:]
        return offset

    def _open(self) -> int:
        if self._descriptor is None:
            raise StorageError(f"cannot write {self.path}: it was closed")
        return self._descriptor


def read_bytes(path: Path) -> bytes:
    """A small file as bytes; raises CorruptIndex where it is missing."""
    try:
        with naming("read", path), open_file(path) as file:
            return file.read()
    except StorageError as error:
        raise missing(path, error) from error


def file_size(path: Path) -> int:
    """Bytes of a file; raises CorruptIndex where it is missing or no file of its own (a link, a folder, a pipe)."""
    try:
        with naming("read", path):
            status = path.lstat()
            _refuse_other_kinds(path, status.st_mode)
            return status.st_size
    except StorageError as error:
        raise missing(path, error) from error


def map_array(path: Path, kind: Array) -> np.ndarray:
    """A read-only map of an array file; raises CorruptIndex unless its size and header are exactly those of `kind`."""
    size = file_size(path)
    if size != kind.bytes:
        raise CorruptIndex(
            f"{path} has {size:,} bytes instead of {kind.bytes:,}: restore it from a copy or rebuild the index"
        )
    with naming("read", path), open_file(path) as file:
        if file.read(HEADER_BYTES) != kind.header:
            raise CorruptIndex(
                f"{path} is not an array {kind.dtype} {kind.shape}: restore it from a copy or rebuild the index"
            )
        return np.asarray(np.memmap(file, kind.dtype, "r", HEADER_BYTES, kind.shape))


def let_go(mapped: np.ndarray) -> None:
    """Give back the memory of a map of one of our own files; what is asked for again is read again."""
    _advise(mapped, "MADV_DONTNEED")


def read_ahead(mapped: np.ndarray, wanted: bool) -> None:
    """Whether the system should read on from where a map is looked at, or only what is asked for."""
    _advise(mapped, "MADV_NORMAL" if wanted else "MADV_RANDOM")


def _advise(mapped: np.ndarray, advice: str) -> None:
    base: object = mapped
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))


def checksum(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; raises CorruptIndex where it is missing."""
    digest = hashlib.sha256()
    try:
        with naming("read", path), open_file(path) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except StorageError as error:
        raise missing(path, error) from error
    return digest.hexdigest()


def open_file(path: Path) -> BinaryIO:
    """A file of the index for reading: never a link, which may lead out of the folder, nor a pipe, which may hang."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _refuse_other_kinds(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _refuse_other_kinds(path: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(mode):
        raise CorruptIndex(f"{path} is not a plain file: restore it from a copy or rebuild the index")


def missing(path: Path, error: StorageError) -> FileMissing | StorageError:
    """The error of a file that should be there: FileMissing if it is not, else as it was."""
    if error.errno == errno.ENOENT:
        return FileMissing(f"{path} is missing: restore it from a copy or rebuild the index")
    return error


class FileMissing(CorruptIndex):
    """A file that the manifest names is not there; a reader that races with a merge reads the manifest again."""
