"""Tensors of a file that `torch.save` wrote, mapped and without torch.

Knows the zip archive: `data.pkl` says which tensors there are, `data/KEY` holds the numbers of each.  The pickle is
read as data (`plain_pickle`), so a file can name no code that would run.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.interop.files import map_file
from flmr.index.interop.plain_pickle import Called, Named, Referenced, plain_pickle
from flmr.index.manifest import RESTORE
from flmr.index.store import open_file

_TENSOR = Named("torch._utils _rebuild_tensor_v2")
_TYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "|u1",
    "CharStorage": "|i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}
_LOCAL_HEADER = struct.Struct("<26xHH")  # of an entry of a zip: lengths of its name and of its extra field
_UNREADABLE = (  # what zipfile lets through where an archive is damaged, and what is found here
    *(zipfile.BadZipFile, struct.error, zlib.error, OSError, EOFError),
    *(RuntimeError, ValueError, TypeError, LookupError),
)
MAX_PICKLE_BYTES = 1 << 20  # a few tensors need a few hundred


def read_tensors(path: Path) -> Any:
    """What a torch file holds, its tensors as read-only maps; raises CorruptIndex naming the file."""
    bytes_B = map_file(path)
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            entries = {name.partition("/")[2]: archive.getinfo(name) for name in archive.namelist()}
            if entries["data.pkl"].file_size > MAX_PICKLE_BYTES:
                raise ValueError("its data.pkl is far longer than a few tensors need")
            order = archive.read(entries["byteorder"]) if "byteorder" in entries else b"little"
            if order != b"little":
                raise ValueError(f"its numbers are {order.decode()}-endian")
            content = plain_pickle(archive.read(entries["data.pkl"]), f"{path}, data.pkl")
        return _resolve(content, entries, bytes_B)
    except _UNREADABLE as error:
        hint = "; a file older than torch 1.6 must be saved again" if isinstance(error, zipfile.BadZipFile) else ""
        raise CorruptIndex(f"{path} is not a file of tensors ({error}){hint}: {RESTORE}") from error


def read_tensor(path: Path, *, ndim: int) -> np.ndarray:
    """The one tensor of a torch file; raises CorruptIndex where it holds anything else."""
    value = read_tensors(path)
    if not isinstance(value, np.ndarray) or value.ndim != ndim:
        raise CorruptIndex(f"{path} does not hold one tensor of {ndim} dimensions: {RESTORE}")
    return value


def _resolve(value: Any, entries: dict[str, zipfile.ZipInfo], bytes_B: np.ndarray) -> Any:
    """The value with its tensors in place of the calls that would make them."""
    if isinstance(value, tuple | list):
        return tuple(_resolve(part, entries, bytes_B) for part in value)
    if isinstance(value, Called) and value.function == _TENSOR:
        storage, offset, shape, strides = value.arguments[:4]
        return _tensor(_storage(storage, entries, bytes_B), offset, shape, strides)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"it holds a {type(value).__name__.lower()} where tensors are expected")


def _storage(reference: Any, entries: dict[str, zipfile.ZipInfo], bytes_B: np.ndarray) -> np.ndarray:
    """The numbers that a tensor is a part of, as they lie in the archive."""
    if not isinstance(reference, Referenced):
        raise ValueError("a tensor has no storage")
    _, kind, key, _, count = reference.key
    name = kind.name.rpartition(" ")[2] if isinstance(kind, Named) else ""
    if name not in _TYPES:
        raise ValueError(f"its tensors are of the type {name or kind!r}, which is not read")
    dtype, entry = np.dtype(_TYPES[name]), entries[f"data/{key}"]
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < count * dtype.itemsize:
        raise ValueError(f"its entry data/{key} is compressed or too short")
    start = entry.header_offset + 30
    start += sum(_LOCAL_HEADER.unpack(bytes_B[entry.header_offset : start].tobytes()))
    data = bytes_B[start : start + count * dtype.itemsize]
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"its entry data/{key} is cut")
    return data.view(dtype)


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    rows_first = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if count and any(size > 1 and a != b for size, a, b in zip(shape, strides, rows_first, strict=True)):
        raise ValueError("a tensor does not lie row after row; save it again after .contiguous()")
    if min(shape, default=0) < 0 or offset < 0 or offset + count > len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    return storage[offset : offset + count].reshape(shape)
