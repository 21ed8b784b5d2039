"""The CUDA library compiled for a CPU: csrc/cuda's own sources with tests/cuda/emulator in the place of a device.

Knows the C interface (csrc/cuda/api.h), guarded memory and what rows of each type stand for; knows no expected scores.
"""

# Q, M rows of queries and documents, D dim, N columns.

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
KERNELS, EMULATOR = ROOT / "csrc" / "cuda", ROOT / "tests" / "cuda" / "emulator"
TYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "int8": 3, "float8": 4}
WARNINGS = ["-Wall", "-Wextra", "-Wno-unknown-pragmas"]
FLAGS = ["-std=c++17", "-O1", "-fPIC", *WARNINGS, "-U_FORTIFY_SOURCE", "-DFLMR_EMULATOR"]
CARD = (90, 3, 1 << 30)  # compute capability, multiprocessors (few, so that blocks get several documents), free bytes


class Items(ctypes.Structure):
    _fields_ = [
        ("rows", c_void_p), ("count", c_int64), ("dim", c_int64), ("stride", c_int64), ("begins", c_void_p),
        ("ends", c_void_p), ("mask", c_void_p), ("scales", c_void_p), ("items", c_int64), ("longest", c_int64),
        ("type", c_int32), ("pad", c_int32),
    ]  # fmt: skip


class Maxsim(ctypes.Structure):
    _fields_ = [
        ("queries", Items), ("documents", Items), ("per_query", c_int64), ("scores", c_void_p), ("winners", c_void_p),
        ("winner_bytes", c_int32), ("pad", c_int32), ("scratch", c_void_p), ("scratch_bytes", c_int64),
        ("stream", c_void_p),
    ]  # fmt: skip


def build() -> Path:
    """The shared library, compiled once for each state of the sources."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    assert compiler, "the emulator needs a C++ compiler: install g++, or name one in CXX"
    sources = sorted([*KERNELS.glob("*.cu"), *EMULATOR.glob("*.cpp")])
    digest = hashlib.sha256(repr((compiler, FLAGS)).encode())
    for path in sorted([*sources, *KERNELS.glob("*.h"), *EMULATOR.glob("*.h")]):
        digest.update(path.name.encode() + path.read_bytes())
    folder = ROOT / "build" / "emulator" / digest.hexdigest()[:16]
    library = folder / "libflmr_emulated.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> Path:
        target = folder / f"{source.name}.{os.getpid()}.o"
        command = [compiler, *FLAGS, f"-I{KERNELS}", f"-I{EMULATOR}", "-x", "c++", "-c", source, "-o", target]
        subprocess.run(command, check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    linked = folder / f"{os.getpid()}.so"
    subprocess.run([compiler, "-shared", "-o", linked, *objects], check=True)
    linked.replace(library)
    return library


@cache
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(str(build()))
    found.flmr_cuda_maxsim_scratch.argtypes = [POINTER(Maxsim), c_int64]
    found.flmr_cuda_maxsim_scratch.restype = c_int64
    found.flmr_cuda_maxsim_forward.argtypes = [POINTER(Maxsim)]
    found.flmr_cuda_maxsim_backward.argtypes = [POINTER(Maxsim), c_void_p, c_void_p, c_void_p, ctypes.c_int]
    found.flmr_cuda_assign_scratch.argtypes = [POINTER(Items), POINTER(Items)]
    found.flmr_cuda_assign_scratch.restype = c_int64
    found.flmr_cuda_assign.argtypes = [
        POINTER(Items), POINTER(Items), c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_void_p,
    ]  # fmt: skip
    found.flmr_cuda_maxsim.argtypes = [
        c_void_p, ctypes.c_int, c_void_p, c_int64, c_void_p, ctypes.c_int, c_void_p, c_int64, c_int64, c_void_p,
    ]  # fmt: skip
    found.flmr_cuda_error.restype = ctypes.c_char_p
    found.flmr_cuda_path.restype = ctypes.c_char_p
    found.emulator_allocate.argtypes = [c_size_t, c_size_t]
    found.emulator_allocate.restype = c_void_p
    found.emulator_free.argtypes = [c_void_p]
    found.emulator_seed.argtypes = [c_uint64]
    found.emulator_device.argtypes = [ctypes.c_int, ctypes.c_int, c_size_t]
    found.emulator_fault.argtypes = [ctypes.c_char_p, c_void_p, c_void_p]
    for name in ("emulator_conflicts", "emulator_fetches", "emulator_allocations"):
        getattr(found, name).restype = c_int64
    found.emulator_device(*CARD)
    return found


class Memory:
    """Device memory of one call: every array ends where reading on would fault; freed by `close`."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def empty(self, shape: tuple[int, ...], dtype: Any, *, alignment: int = 16) -> NDArray[Any]:
        count, size = int(np.prod(shape)), np.dtype(dtype).itemsize
        address = library().emulator_allocate(count * size, alignment)
        self.held.append(address)
        if count == 0:
            return np.empty(shape, dtype)
        buffer = (ctypes.c_char * (count * size)).from_address(address)
        return np.frombuffer(buffer, dtype).reshape(shape)

    def put(self, array: NDArray[Any], *, alignment: int = 16) -> NDArray[Any]:
        out = self.empty(array.shape, array.dtype, alignment=alignment)
        out[...] = array
        return out

    def close(self) -> None:
        for address in self.held:
            library().emulator_free(address)
        self.held.clear()


def address(array: NDArray[Any] | None) -> int | None:
    return None if array is None or array.size == 0 else array.ctypes.data


@cache
def float8_values() -> NDArray[np.float64]:
    """What the 256 bytes of e4m3 stand for (OCP 8-bit floating point, revision 1.0, table 1)."""
    bits = np.arange(256)
    exponent, fraction = bits >> 3 & 15, (bits & 7) / 8
    values = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - 7), fraction * 2.0**-6)
    values[bits & 127 == 127] = np.nan
    return np.where(bits >> 7, -values, values)


def encode(rows_MD: NDArray[Any], kind: str) -> NDArray[Any]:
    """Rows as the kernels store them: the nearest that the type has."""
    rows = np.asarray(rows_MD, np.float32)
    if kind == "bfloat16":
        bits = rows.view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return np.where(np.isnan(rows), 0x7FC0, rounded).astype(np.uint16)
    if kind == "float8":
        values = float8_values()
        order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")[:254]
        steps = values[order]
        place = np.clip(np.searchsorted(steps, rows), 1, len(steps) - 1)
        nearer = place - (rows - steps[place - 1] < steps[place] - rows)
        return np.where(np.isnan(rows), 0x7F, order[nearer]).astype(np.uint8)
    return rows.astype({"float32": np.float32, "float16": np.float16, "int8": np.int8}[kind])


def decode(stored: NDArray[Any], kind: str) -> NDArray[np.float64]:
    if kind == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if kind == "float8":
        return float8_values()[stored]
    return stored.astype(np.float64)


@dataclass
class Side:
    """Items as a test describes them: rows of a type, lengths, perhaps a mask, scales, a stride or an odd address."""

    rows_MD: NDArray[Any]
    lengths: list[int]
    kind: str = "float32"
    mask_M: NDArray[np.bool_] | None = None
    scales_M: NDArray[np.float32] | None = None
    stride: int | None = None
    alignment: int = 16
    padded: bool = False  # items of equal length, without begins and ends
    begins: list[int] | None = None
    stored: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.stored = encode(self.rows_MD, self.kind)
        if self.begins is None:
            self.begins = [sum(self.lengths[:i]) for i in range(len(self.lengths))]

    @property
    def values(self) -> NDArray[np.float64]:
        return decode(self.stored, self.kind)

    def place(self, memory: Memory) -> Items:
        count, dim = self.rows_MD.shape
        stride = self.stride or dim
        whole = memory.empty((max(0, (count - 1) * stride + dim),), self.stored.dtype, alignment=self.alignment)
        for row in range(count):
            whole[row * stride : row * stride + dim] = self.stored[row]
        begins = ends = None
        if not self.padded:
            begins = memory.put(np.array(self.begins, np.int64))
            ends = memory.put(np.array(self.begins, np.int64) + np.array(self.lengths, np.int64))
        mask = None if self.mask_M is None else memory.put(self.mask_M.astype(np.uint8), alignment=1)
        scales = None if self.scales_M is None else memory.put(self.scales_M.astype(np.float32), alignment=4)
        return Items(
            address(whole), count, dim, stride, address(begins), address(ends), address(mask), address(scales),
            len(self.lengths), max(self.lengths, default=0), TYPES[self.kind], 0,
        )  # fmt: skip


def check(status: int) -> None:
    assert status == 0, library().flmr_cuda_error(status).decode()


def forward(
    queries: Side,
    documents: Side,
    *,
    per_query: int = 0,
    winner_bytes: int = 0,
    scratch_bytes: int | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    """Scores [queries][columns] and, with winner_bytes, winners [query rows][columns]; poison where nothing is."""
    memory = Memory()
    library().emulator_seed(seed)
    try:
        columns = per_query or len(documents.lengths)
        scores = memory.empty((len(queries.lengths), columns), np.float32, alignment=4)
        kind = np.int16 if winner_bytes == 2 else np.int32
        shape = (len(queries.rows_MD), columns)
        winners = memory.empty(shape, kind, alignment=winner_bytes) if winner_bytes else None
        args = Maxsim(queries.place(memory), documents.place(memory), per_query, address(scores), address(winners))
        args.winner_bytes = winner_bytes
        wanted = library().flmr_cuda_maxsim_scratch(args, 1 << 28 if scratch_bytes is None else scratch_bytes)
        check(min(wanted, 0))
        scratch = memory.empty((wanted,), np.uint8)
        args.scratch, args.scratch_bytes = address(scratch), wanted
        check(library().flmr_cuda_maxsim_forward(args))
        return scores.copy(), None if winners is None else winners.copy()
    finally:
        memory.close()


def backward(
    queries: Side,
    documents: Side,
    winners: NDArray[Any],
    grad_scores: NDArray[np.float32],
    *,
    per_query: int = 0,
    deterministic: bool = False,
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Gradients of the rows of queries and documents, those that are wanted."""
    memory = Memory()
    try:
        placed = memory.put(winners, alignment=winners.itemsize)
        args = Maxsim(queries.place(memory), documents.place(memory), per_query, None, address(placed))
        args.winner_bytes = winners.itemsize
        grads = [
            memory.empty(each.rows_MD.shape, np.float32, alignment=4) if want else None
            for each, want in zip((queries, documents), wanted, strict=True)
        ]
        scores = memory.put(grad_scores.astype(np.float32), alignment=4)
        where = (address(each) for each in grads)
        check(library().flmr_cuda_maxsim_backward(args, address(scores), *where, int(deterministic)))
        first, second = (None if each is None else each.copy() for each in grads)
        return first, second
    finally:
        memory.close()


def assign(
    rows: Side, centroids: Side, half_squared_norms: NDArray[np.float32] | None, *, best: bool = True
) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
    memory = Memory()
    try:
        count = len(rows.rows_MD)
        codes = memory.empty((count,), np.int32, alignment=4)
        values = memory.empty((count,), np.float32, alignment=4) if best else None
        norms = None if half_squared_norms is None else memory.put(half_squared_norms, alignment=4)
        sides = rows.place(memory), centroids.place(memory)
        wanted = library().flmr_cuda_assign_scratch(*sides)
        check(min(wanted, 0))
        scratch = memory.empty((wanted,), np.uint8)
        where = (address(each) for each in (norms, codes, values, scratch))
        check(library().flmr_cuda_assign(*sides, *where, scratch.size, None))
        return codes.copy(), None if values is None else values.copy()
    finally:
        memory.close()
