"""The CUDA library's C interface, called with torch tensors: what csrc/cuda/api.h says, in ctypes.

Knows addresses, strides, streams and how much memory a call may take; allocates all of it, as the library allocates
nothing.  Knows nothing of gradients or of who calls.  Imports torch, so it is imported where tensors are.
"""

# T rows of N items, D dim, K centroids; C columns: all documents, or a query's own.

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flmr.errors import InvalidInput, NativeError
from flmr.ops import native
from flmr.ops.arrays import Array

SCRATCH_BYTES = 256 << 20  # what a call may take besides its results, unless it is told otherwise
OLDEST = (8, 0)  # compute capability that the kernels are written for
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.int8: 3, torch.float8_e4m3fn: 4}
QUANTIZED = (torch.int8, torch.float8_e4m3fn)  # types whose rows may have a scale each
NEEDED = ("maxsim_scratch", "maxsim_forward", "maxsim_backward", "assign_scratch", "assign")

# What helps against a cudaError_t.
REMEDIES = {
    2: "make the batch smaller",  # cudaErrorMemoryAllocation
    35: "update the NVIDIA driver, or build the library with an older CUDA toolkit",  # cudaErrorInsufficientDriver
    100: "use device='cpu'",  # cudaErrorNoDevice
    209: "the kernels need compute capability 8.0 (A100) or newer",  # cudaErrorNoKernelImageForDevice
    222: "update the NVIDIA driver",  # cudaErrorUnsupportedPtxVersion
}


class CItems(ctypes.Structure):
    """`FlmrItems` of api.h."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("begins", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("items", ctypes.c_int64),
        ("longest", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("pad", ctypes.c_int32),
    )


class CMaxsim(ctypes.Structure):
    """`FlmrMaxsim` of api.h."""

    _fields_ = (
        ("queries", CItems),
        ("documents", CItems),
        ("per_query", ctypes.c_int64),
        ("scores", ctypes.c_void_p),
        ("winners", ctypes.c_void_p),
        ("winner_bytes", ctypes.c_int32),
        ("pad", ctypes.c_int32),
        ("scratch", ctypes.c_void_p),
        ("scratch_bytes", ctypes.c_int64),
        ("stream", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Items:
    """N items that are rows begins_N[i] .. ends_N[i] of one matrix (T, D) on a device, none of more than `longest`.

    begins_N, ends_N: int64; None where every item has `longest` rows, one after another.  mask_T: bool, the rows that
    count, or None.  scales_T: float32, what the products of a row are multiplied with, for int8 and float8, or None.
    """

    rows_TD: Tensor
    count: int
    longest: int
    begins_N: Tensor | None = None
    ends_N: Tensor | None = None
    mask_T: Tensor | None = None
    scales_T: Tensor | None = None

    @classmethod
    def padded(cls, tensor: Tensor, mask: Tensor | None = None, scales: Tensor | None = None) -> Items:
        """Items of (..., L, D), each of L rows; in place where the rows lie at one distance, else copied."""
        *items, L, D = tensor.shape
        N = math.prod(items)
        flat_mask, flat_scales = (None if of is None else of.reshape(N * L).contiguous() for of in (mask, scales))
        return cls(in_rows(tensor.reshape(N * L, D)), N, L, mask_T=flat_mask, scales_T=flat_scales)

    @classmethod
    def ragged(cls, rows_TD: Tensor, begins_N: Tensor, ends_N: Tensor, longest: int) -> Items:
        """Items anywhere among the rows."""
        return cls(in_rows(rows_TD), len(begins_N), longest, begins_N.contiguous(), ends_N.contiguous())

    @classmethod
    def whole(cls, rows_TD: Tensor, scales_T: Tensor | None = None) -> Items:
        """One item of all rows."""
        return cls(in_rows(rows_TD), 1, len(rows_TD), scales_T=scales_T)

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.rows_TD.device

    def c(self) -> CItems:
        """As the library reads it; the tensors must outlive the call."""
        kind = TYPES.get(self.rows_TD.dtype)
        if kind is None:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPES)
            raise InvalidInput(f"the CUDA kernels take rows of {known}, not {self.rows_TD.dtype}; cast them first")
        T, D = self.rows_TD.shape
        stride = self.rows_TD.stride(0) if T > 1 else D
        places = (self.rows_TD, self.begins_N, self.ends_N, self.mask_T, self.scales_T)
        rows, begins, ends, mask, scales = (None if of is None else of.data_ptr() for of in places)
        return CItems(rows, T, D, stride, begins, ends, mask, scales, self.count, self.longest, kind, 0)


def in_rows(rows_TD: Tensor) -> Tensor:
    """The matrix itself if the numbers of a row are neighbours and rows do not overlap, else a copy."""
    T, D = rows_TD.shape
    neighbours = D == 1 or rows_TD.stride(1) == 1
    return rows_TD if neighbours and (T <= 1 or rows_TD.stride(0) >= D) else rows_TD.contiguous()


def is_there(tensor: Tensor) -> bool:
    """Whether a tensor lies in a CUDA device's memory."""
    return tensor.is_cuda


def free_bytes(device: torch.device) -> int:
    """How much of the device's memory nobody holds."""
    return torch.cuda.mem_get_info(device)[0]


def why_not(device: torch.device) -> str | None:
    """What keeps the kernels from running on a device, as one line with its remedy; None where nothing does."""
    return _why_not(device, native._cuda())


@cache
def _why_not(device: torch.device, library: ctypes.CDLL | None) -> str | None:
    if device.type != "cuda":
        return f"the CUDA kernels read a CUDA device's memory, not {device.type}'s; move the tensors with .cuda()"
    if torch.version.hip is not None:
        return "flmr's kernels are for NVIDIA's devices and this torch is for AMD's"
    try:
        for name in NEEDED:
            native.cuda_function(name)
    except NativeError as error:
        return str(error)
    if native.cuda_devices() == 0:
        return f"flmr's CUDA library sees no device: {REMEDIES[35]}"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        return f"{torch.cuda.get_device_name(device)} is of compute capability {capability}; {REMEDIES[209]}"
    return None


def the_device() -> torch.device:
    """The current CUDA device; raises NativeError naming the remedy where the kernels cannot run on one."""
    if not torch.cuda.is_available():
        raise NativeError("no CUDA device is visible to torch; use device='cpu', or install a CUDA build of torch")
    device = torch.device("cuda", torch.cuda.current_device())
    reason = why_not(device)
    if reason is not None:
        raise NativeError(reason)
    return device


def sent(array: Array, device: torch.device | None = None) -> Tensor:
    """An array's numbers in the memory of a CUDA device, the current one by default.

    Raises NativeError where there is none, or no room.
    """
    device = device or the_device()
    with told_of_memory(device):
        kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
        staged = torch.empty(array.shape, dtype=kind, pin_memory=device.type == "cuda")  # sent without one more copy
        staged.numpy()[...] = array
        return staged.to(device)


def maxsim_forward(
    queries: Items,
    documents: Items,
    *,
    per_query: int = 0,
    winners: bool = False,
    scratch_bytes: int = SCRATCH_BYTES,
) -> tuple[Tensor, Tensor | None]:
    """Scores (N queries, C) float32 and, if wanted, the row of each document that won for each query row, (T, C).

    per_query: 0 for all pairs, else query i meets documents i * per_query and the ones that follow, C of them.  Rows
    are counted within their document, in int16 where `longest` allows, else int32; the lowest wins a tie, and -1 stands
    where none does.  A document none of whose rows counts scores -inf, a query without such rows 0 against the others.
    Raises InvalidInput where the library refuses, NativeError where the device does.
    """
    C = per_query or documents.count
    device = queries.device
    with told_of_memory(device):
        scores = torch.empty((queries.count, C), dtype=torch.float32, device=device)
        rows = torch.empty((len(queries.rows_TD), C), dtype=winner_type(documents), device=device) if winners else None
        if scores.numel():
            call = _arguments(queries, documents, per_query, scores, rows)
            with _stream_of(device) as stream:
                scratch = _scratch(call, scratch_bytes, device)
                call.scratch, call.scratch_bytes, call.stream = scratch.data_ptr(), scratch.numel(), stream
                _run("maxsim_forward", ctypes.byref(call))
    return scores, rows


def maxsim_backward(
    queries: Items,
    documents: Items,
    winners: Tensor,
    grad: Tensor,
    *,
    per_query: int = 0,
    needed: tuple[bool, bool] = (True, True),
    deterministic: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the rows of queries and documents, (T, D) float32 each, from those of the scores, (N queries, C).

    needed: which of the two to make.  deterministic: add in a fixed order, so that a repetition gives the same bits.
    A row that does not count gets 0.  Errors as in `maxsim_forward`.
    """
    device = queries.device
    with told_of_memory(device):
        make = torch.empty if winners.numel() else torch.zeros
        grad_queries, grad_documents = (
            make(of.rows_TD.shape, dtype=torch.float32, device=device) if wanted else None
            for of, wanted in zip((queries, documents), needed, strict=True)
        )
        grad = grad.to(torch.float32).contiguous()
        if winners.numel() and any(needed):
            call = _arguments(queries, documents, per_query, None, winners)
            with _stream_of(device) as call.stream:
                places = _address(grad), _address(grad_queries), _address(grad_documents)
                _run("maxsim_backward", ctypes.byref(call), *places, int(deterministic))
    return grad_queries, grad_documents


def assign(
    rows: Items, centroids: Items, half_squared_norms_K: Tensor, *, best: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Row of the centroid with the most x . c - half_squared_norms, ties to the lower row, and if wanted that value.

    rows and centroids: `Items.whole`.  Returns (T,) int32, (T,) float32.  Errors as in `maxsim_forward`.
    """
    device = rows.device
    T = len(rows.rows_TD)
    with told_of_memory(device):
        codes = torch.empty(T, dtype=torch.int32, device=device)
        values = torch.empty(T, dtype=torch.float32, device=device) if best else None
        if T:
            sides = rows.c(), centroids.c()
            places = tuple(map(ctypes.byref, sides))
            with _stream_of(device) as stream:
                size = native.cuda_function("assign_scratch", ctypes.c_int64)(*places)  # it asks the current device
                scratch = torch.empty(_size("assign", size), dtype=torch.uint8, device=device)
                results = _address(half_squared_norms_K), _address(codes), _address(values), _address(scratch)
                _run("assign", *places, *results, ctypes.c_int64(scratch.numel()), ctypes.c_void_p(stream))
    return codes, values


def winner_type(documents: Items) -> torch.dtype:
    """The type that holds a row's number within its document."""
    return torch.int16 if documents.longest <= torch.iinfo(torch.int16).max else torch.int32


def _arguments(
    queries: Items, documents: Items, per_query: int, scores: Tensor | None, winners: Tensor | None
) -> CMaxsim:
    if queries.device != documents.device:
        raise InvalidInput(f"queries are on {queries.device} and documents on {documents.device}; move one of them")
    call = CMaxsim(queries=queries.c(), documents=documents.c(), per_query=per_query)
    call.scores = None if scores is None else scores.data_ptr()
    call.winners = None if winners is None else winners.data_ptr()
    call.winner_bytes = 0 if winners is None else winners.element_size()
    return call


@contextlib.contextmanager
def _stream_of(device: torch.device) -> Iterator[int | None]:
    """torch's current stream there, while the device is the current one."""
    if device.type != "cuda":
        yield None
        return
    with torch.cuda.device(device):
        yield torch.cuda.current_stream(device).cuda_stream


def _scratch(call: CMaxsim, limit: int, device: torch.device) -> Tensor:
    """Scratch memory of at most `limit` bytes, less where the device has no more: then chunks are smaller."""
    asked = native.cuda_function("maxsim_scratch", ctypes.c_int64)
    for most in (limit, 0):
        size = _size("maxsim_forward", asked(ctypes.byref(call), ctypes.c_int64(most)))
        with contextlib.suppress(torch.OutOfMemoryError):
            return torch.empty(size, dtype=torch.uint8, device=device)
    raise torch.OutOfMemoryError


def _size(op: str, size: int) -> int:
    if size < 0:
        _refuse(op, size)
    return size


@contextlib.contextmanager
def told_of_memory(device: torch.device) -> Iterator[None]:
    """Says in one line that the device's memory did not do."""
    try:
        yield
    except torch.OutOfMemoryError:
        # In the words that trainers look for to try again with less.
        raise NativeError(
            f"CUDA out of memory. {device} has no room for the results; make the batch smaller, or free memory there"
        ) from None


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _run(op: str, *arguments: Any) -> None:
    status = native.cuda_function(op)(*arguments)
    if status != 0:
        _refuse(op, status)


def _refuse(op: str, status: int) -> None:
    """Raise what a status means: below 0 an argument that the library refuses, else a cudaError_t."""
    line = native.cuda_function("error", ctypes.c_char_p)(status).decode()
    if status < 0:
        raise InvalidInput(f"{op}: {line}")
    remedy = f": {REMEDIES[status]}" if status in REMEDIES else ""
    raise NativeError(f"{op} failed on the CUDA device: {line}{remedy}")
