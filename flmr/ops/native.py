"""The door to the native libraries: loads them on first use and says what they can do.

Knows where the libraries lie, which instruction sets they hold and how many threads a call may use.  Knows no op.
A library that is missing is an error that names the build command; it is never replaced by slower code unasked.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from flmr.errors import InvalidInput, NativeError

BUILD = "python setup.py build_ext --inplace (or: pip install .)"
CUDA_LIBRARY = "libflmr_cuda.so"


@cache
def _module() -> Any:
    try:
        return importlib.import_module("flmr._native")
    except ImportError as error:
        raise NativeError(f"flmr's native library cannot be loaded ({error}); build it: {BUILD}") from error


@cache
def _cuda() -> ctypes.CDLL | None:
    path = Path(__file__).resolve().parent.parent / CUDA_LIBRARY
    try:
        return ctypes.CDLL(str(path)) if path.exists() else None
    except OSError as error:
        raise NativeError(f"{path} cannot be loaded ({error}); build it again: {BUILD}") from error


def call(op: str, *arguments: Any) -> Any:
    """Run one native op; what it refuses (a code or offset out of range) is InvalidInput with the op's name.

    Raises NativeError where the library was built from older sources than these.
    """
    kernel = getattr(_module(), op, None)
    if kernel is None:
        raise NativeError(f"flmr's native library is older than its Python side: it has no {op}; build it: {BUILD}")
    try:
        return kernel(*arguments)
    except ValueError as error:
        raise InvalidInput(f"{op}: {error}") from None


def available() -> bool:
    """Whether the native library can be loaded."""
    try:
        _module()
    except NativeError:
        return False
    return True


@cache
def isas() -> tuple[str, ...]:
    """The instruction sets that are compiled in and that this processor has, slowest first."""
    return tuple(_module().isas())


def isa(name: str | None = None) -> str:
    """The instruction set that ops use: the best one here, or `name` if this processor has it.

    Raises InvalidInput for a name that is not in isas(), NativeError where the library is missing.
    """
    known = isas()
    if name is not None and name not in known:
        raise InvalidInput(f"instruction set {name!r} is not available here; use one of {list(known)}")
    return known[-1] if name is None else name


def thread_count(threads: int | None) -> int:
    """How many threads a call may use: `threads`, or for None all the cores that this process may run on."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidInput(f"threads must be a whole number from 1, or None for all cores, not {threads!r}")
    return threads


def cuda_devices() -> int:
    """How many CUDA devices the CUDA library sees: 0 without a device, a driver or the library."""
    library = _cuda()
    return int(library.flmr_cuda_device_count()) if library is not None else 0


def cuda_function(op: str, result: Any = ctypes.c_int) -> Any:
    """One function of the CUDA library, for ctypes; raises NativeError where the library is missing or too old."""
    library = _cuda()
    if library is None:
        raise NativeError(f"flmr's CUDA library is not built; with a CUDA toolkit in reach: FLMR_CUDA=ON {BUILD}")
    function = getattr(library, f"flmr_cuda_{op}", None)
    if function is None:
        raise NativeError(f"{CUDA_LIBRARY} is older than its Python side: it has no {op}; FLMR_CUDA=ON {BUILD}")
    function.restype = result
    return function


def call_cuda(op: str, *arguments: Any) -> None:
    """Run one op of the CUDA library on the first device; raises NativeError where there is none or the op fails."""
    function = cuda_function(op)
    if cuda_devices() == 0:
        raise NativeError("no CUDA device is visible; use device='cpu'")
    status = function(*arguments)
    if status != 0:
        line = cuda_function("error", ctypes.c_char_p)(status).decode()
        raise NativeError(f"{op} failed on the CUDA device: {line}")


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where an array lies, for a C function; the caller keeps the array alive."""
    return ctypes.c_void_p(array.ctypes.data)


def int64(value: int) -> ctypes.c_int64:
    """A C int64: ctypes would pass a plain number as a 32-bit one."""
    return ctypes.c_int64(value)
