"""What an interrupted build has already computed: arrays, each under the digest of what it was computed from.

Knows digests, arrays and the two files of its folder.  Knows nothing of codecs, segments or indexes: whoever asks by
the digest of the same input gets the same arrays, and whatever changed is simply not found.

`arrays.raw` holds the arrays one after another, `arrays.jsonl` a line for each entry, written after its arrays: a line
that can be read and whose checksum holds vouches for them; what follows the last sound line is cut off.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import AlreadyExists
from flmr.index.store import naming

HEADER = {"format": "flmr-building", "version": 1}


@dataclass(frozen=True)
class _Entry:
    key: str
    start: int
    size: int
    crc: int
    arrays: list[tuple[str, list[int]]]  # type and shape


class Checkpoint:
    """A folder of arrays, kept until `remove`; a context manager that closes it.

    Raises StorageError where the file system refuses, AlreadyExists where the folder is not one of a build.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with naming("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            entries = {entry.name for entry in folder.iterdir()}
            if entries - {"arrays.raw", "arrays.jsonl"}:
                raise AlreadyExists(f"{folder} holds other files ({min(entries)!r}, ...): move it away to build here")
            self._raw = (folder / "arrays.raw").open("a+b")
            self._log = (folder / "arrays.jsonl").open("a+b")
            self._entries = self._sound_entries()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, key: str) -> list[np.ndarray] | None:
        """The arrays that were kept under this key; None where there are none or the disk has lost them."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        with naming("read", self.folder):
            self._raw.seek(entry.start)
            data = self._raw.read(entry.size)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            return None
        arrays, place = [], 0
        for kind, shape in entry.arrays:
            count = math.prod(shape)
            arrays.append(np.frombuffer(data, kind, count, place).reshape(shape))
            place += count * np.dtype(kind).itemsize
        return arrays

    def keep(self, key: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep arrays under a key; raises StorageError where the disk is full."""
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        with naming("write", self.folder):
            start = self._raw.seek(0, 2)
            self._raw.write(data)
            self._raw.flush()
            kinds = [(array.dtype.str, list(array.shape)) for array in arrays]
            self._entries[key] = _Entry(key, start, len(data), zlib.crc32(data), kinds)
            self._log.write(_line(asdict(self._entries[key])))
            self._log.flush()

    def close(self) -> None:
        """Close the files; what was kept stays for the next build, and a folder without anything goes."""
        if self._log.closed:
            return
        with naming("write", self.folder):
            self._raw.close()
            self._log.close()
        if not self._entries:
            self._delete()

    def remove(self) -> None:
        """Close and delete: the index is built."""
        self.close()
        self._delete()

    def _delete(self) -> None:
        if not self.folder.exists():
            return
        with naming("remove", self.folder):
            for name in ("arrays.jsonl", "arrays.raw"):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()

    def _sound_entries(self) -> dict[str, _Entry]:
        self._log.seek(0)
        lines = self._log.read().splitlines(keepends=True)
        entries: dict[str, _Entry] = {}
        place = end = 0
        if lines and _parsed(lines[0]) == HEADER:
            place, size = len(lines[0]), self._raw.seek(0, 2)
            for line in lines[1:]:
                fields = _parsed(line)
                if not isinstance(fields, dict) or fields["start"] + fields["size"] > size:
                    break
                entries[fields["key"]] = _Entry(**fields)
                place, end = place + len(line), fields["start"] + fields["size"]
        self._log.truncate(place)
        self._raw.truncate(end)
        if not place:
            self._log.write(_line(HEADER))
            self._log.flush()
        return entries


def building_folder(index: Path) -> Path:
    """Where the checkpoint of an index that is being built stands: beside it."""
    return index.with_name(index.name + ".building")


def digest(*parts: Any) -> str:
    """SHA-256 of numbers, strings and arrays (their type, shape and bytes), in hexadecimal."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(_line([part.dtype.str, list(part.shape)]))
            state.update(np.ascontiguousarray(part).data)
        else:
            state.update(_line(part))
    return state.hexdigest()


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
