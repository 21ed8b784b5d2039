"""Files that another program wrote: JSON, `.npy`, and the bytes of any other.

Knows how to refuse, by name, what is missing, cut, of another type or a link.  Knows no engine's layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.manifest import RESTORE
from flmr.index.store import file_size, naming, open_file, read_bytes


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises CorruptIndex."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CorruptIndex(f"{path} is not JSON ({error}): {RESTORE}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; raises CorruptIndex."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise CorruptIndex(f"{path} holds no JSON object: {RESTORE}")
    return value


def whole(document: Any, key: str, path: Path) -> int:
    """A whole number from 0 in a JSON object; raises CorruptIndex naming file and key."""
    value = document.get(key) if isinstance(document, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CorruptIndex(f"{path}: {key!r} is {value!r} instead of a whole number from 0: {RESTORE}")
    return value


def read_lengths(path: Path) -> np.ndarray:
    """A JSON list of how many rows each item has: (N,) int64.  Raises CorruptIndex."""
    values = read_json(path)
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 1 << 40 for value in values):
        raise CorruptIndex(f"{path} is not a list of whole numbers from 0: {RESTORE}")
    return np.array(values, np.int64)


def map_file(path: Path) -> np.ndarray:
    """All bytes of a file as a read-only map: uint8."""
    size = file_size(path)
    with naming("read", path), open_file(path) as file:
        return np.asarray(np.memmap(file, np.uint8, "r", 0, (size,))) if size else np.empty(0, np.uint8)


def map_npy(path: Path, *, ndim: int) -> np.ndarray:
    """A read-only map of an array of numbers; raises CorruptIndex where it is cut or anything else.

    Never an array of objects, which would be a pickle.
    """
    size = file_size(path)
    with naming("read", path), open_file(path) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except OSError:
            raise
        except Exception as error:  # NumPy lets its tokenizer's errors through where a header is damaged
            raise CorruptIndex(f"{path} is not an .npy file ({error}): {RESTORE}") from error
        if dtype.kind not in "fiu" or len(shape) != ndim or (fortran and ndim > 1) or min(shape, default=0) < 0:
            raise CorruptIndex(f"{path} holds {dtype} {shape} instead of numbers in {ndim} dimensions: {RESTORE}")
        needed = file.tell() + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise CorruptIndex(f"{path} is cut: it has {size:,} bytes of {needed:,}; {RESTORE}")
        if not math.prod(shape):
            return np.empty(shape, dtype)
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))
