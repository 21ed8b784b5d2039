"""The mean of the vectors of each code.  Knows sums, nothing of clusters or codecs."""

# T vectors, K codes, D dim.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from flmr.ops import native
from flmr.ops.arrays import Array, is_tensor, ready, same

if TYPE_CHECKING:
    from torch import Tensor


@overload
def means(
    vectors_TD: Array, codes_T: Array, num_codes: int, *, threads: int | None = None, isa: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...


@overload
def means(
    vectors_TD: Tensor, codes_T: Tensor, num_codes: int, *, threads: int | None = None
) -> tuple[Tensor, Tensor]: ...


def means(
    vectors_TD: Any, codes_T: Any, num_codes: int, *, threads: int | None = None, isa: str | None = None
) -> tuple[Any, Any]:
    """Mean of the vectors of each code, zero where it has none, and how many it has: (K, D) float32, (K,) int64.

    vectors_TD: float32 or float16.  codes_T: uint16.  Sums are float64, in the order of the vectors: the same bits with
    any number of threads.  Raises InvalidInput on a wrong type or shape or a code that is not below `num_codes`.
    Tensors stay on their device: see `flmr.ops.assign_torch`.
    """
    if is_tensor(vectors_TD):
        from flmr.ops.assign_torch import means_tensors

        return means_tensors(vectors_TD, codes_T, num_codes, threads=threads)
    vectors, codes = _checked(vectors_TD, codes_T)
    found = np.empty((num_codes, vectors.shape[1]), np.float32)
    counts = np.empty(num_codes, np.int64)
    native.call("means", vectors, codes, found, counts, native.thread_count(threads), native.isa(isa))
    return found, counts


def means_reference(vectors_TD: Array, codes_T: Array, num_codes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The same in NumPy."""
    vectors, codes = _checked(vectors_TD, codes_T)
    sums = np.zeros((num_codes, vectors.shape[1]), np.float64)
    np.add.at(sums, codes, vectors.astype(np.float64))
    counts = np.bincount(codes, minlength=num_codes)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts


def _checked(vectors_TD: Array, codes_T: Array) -> tuple[Array, Array]:
    vectors = ready("vectors", vectors_TD, np.float32, np.float16, ndim=2)
    codes = ready("codes", codes_T, np.uint16, ndim=1)
    same("T", vectors=len(vectors), codes=len(codes))
    return vectors, codes
