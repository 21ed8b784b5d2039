"""Vectors times the rows of a matrix, with the same bits whatever else is in the call.  Knows products, no rotations.

A matrix library adds in an order that follows from the number of vectors, of threads and of the processor's units.
"""

# T vectors, E rows, D dim.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from flmr.ops import native
from flmr.ops.arrays import Array, is_tensor, ready, same

if TYPE_CHECKING:
    from torch import Tensor


@overload
def multiply(
    vectors_TD: Array, rows_ED: Array, *, threads: int | None = None, isa: str | None = None
) -> NDArray[np.float32]: ...


@overload
def multiply(vectors_TD: Tensor, rows_ED: Tensor, *, threads: int | None = None) -> Tensor: ...


def multiply(vectors_TD: Any, rows_ED: Any, *, threads: int | None = None, isa: str | None = None) -> Any:
    """Dot products of all vectors with all rows: (T, E) float32, the same bits with any T and number of threads.

    vectors_TD, rows_ED: float32 or float16.  Raises InvalidInput on a wrong type or shape.
    Tensors stay on their device: see `flmr.ops.assign_torch`.
    """
    if is_tensor(vectors_TD):
        from flmr.ops.assign_torch import multiply_tensors

        return multiply_tensors(vectors_TD, rows_ED, threads=threads)
    vectors, rows = _checked(vectors_TD, rows_ED)
    out = np.empty((len(vectors), len(rows)), np.float32)
    native.call("multiply", vectors, rows, out, native.thread_count(threads), native.isa(isa))
    return out


def multiply_reference(vectors_TD: Array, rows_ED: Array) -> NDArray[np.float32]:
    """The same in NumPy."""
    vectors, rows = _checked(vectors_TD, rows_ED)
    found: NDArray[np.float32] = vectors.astype(np.float32) @ rows.astype(np.float32).T
    return found


def _checked(vectors_TD: Array, rows_ED: Array) -> tuple[Array, Array]:
    vectors = ready("vectors", vectors_TD, np.float32, np.float16, ndim=2)
    rows = ready("rows", rows_ED, np.float32, np.float16, ndim=2)
    same("D", vectors=vectors.shape[1], rows=rows.shape[1])
    return vectors, rows
