"""Sketches: the mean vector of an item in one bit a dimension, and products with it.

Knows means, paths through the trellis and scales.  Knows nothing of codecs, segments or searches.

What the rows of an item have in common, the subject that they share, adds the same to the best product of each row of
a query: the product of the sum of the query's rows with the item's mean.  One bit a dimension is enough to rank by.

Shapes: N items, T rows, M rows of queries, D dimension, P bytes of a sketch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same
from flmr.ops.coded import rounded_products
from flmr.ops.trellis import packed_size, quantize, trellis_levels, unpack_reference

SKETCH_BITS = 1


def sketch(
    vectors_TD: Array, lengths_N: Array, scale_table: Array, *, threads: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Packed means (N, P) uint8 of items' vectors and the numbers of their scales (N,) uint8.

    vectors_TD: float32, item after item.  lengths_N: rows of each; an item without rows has a mean of zeros.
    scale_table: (256,) float32, rising from 0.  Raises InvalidInput on a wrong type or shape.
    """
    vectors = ready("vectors", vectors_TD, np.float32, ndim=2)
    same("T", vectors=len(vectors), lengths=int(lengths_N.sum()))
    means_ND = np.zeros((len(lengths_N), vectors.shape[1]), np.float32)
    filled = lengths_N > 0
    if len(vectors):
        starts = (np.cumsum(lengths_N) - lengths_N)[filled]
        means_ND[filled] = np.add.reduceat(vectors, starts, axis=0) / lengths_N[filled, None].astype(np.float32)
    return quantize(means_ND, scale_table, nbits=SKETCH_BITS, threads=threads)


def sketch_scores(
    rows_MD: Array,
    packed_NP: Array,
    scales_N: Array,
    scale_table: Array,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """The products of rows, each rounded to int8, with each sketched mean: (M, N) float32.  Raises InvalidInput.

    A row's products are the same bits whatever other rows are in the call; eight rows take hardly longer than one.
    """
    rows, packed, scales, table = _checked(rows_MD, packed_NP, scales_N, scale_table)
    out = np.empty((len(rows), len(scales)), np.float32)
    levels, run = trellis_levels(SKETCH_BITS), (native.thread_count(threads), native.isa(isa))
    native.call("sketch_scores", rows, packed, scales, levels, table, out, *run)
    return out


def sketch_scores_reference(
    rows_MD: Array, packed_NP: Array, scales_N: Array, scale_table: Array
) -> NDArray[np.float32]:
    """The same in NumPy."""
    rows, packed, scales, table = _checked(rows_MD, packed_NP, scales_N, scale_table)
    levels_ND = unpack_reference(packed, nbits=SKETCH_BITS, dim=rows.shape[1])
    scores_MN: NDArray[np.float32] = rounded_products(rows, levels_ND, table[scales], both=False).T
    return np.ascontiguousarray(scores_MN)


def _checked(
    rows_MD: Array, packed_NP: Array, scales_N: Array, scale_table: Array
) -> tuple[Array, Array, Array, Array]:
    rows = ready("rows", rows_MD, np.float32, ndim=2)
    packed = ready("packed", packed_NP, np.uint8, ndim=2)
    scales = ready("scales", scales_N, np.uint8, ndim=1)
    table = ready("scale table", scale_table, np.float32, ndim=1)
    same("N", packed=len(packed), scales=len(scales))
    same("number of scales", table=len(table), needed=256)
    same("bytes a sketch", packed=packed.shape[1], needed=packed_size(SKETCH_BITS, rows.shape[1]))
    if not np.isfinite(rows).all():
        raise InvalidInput("the rows hold NaN or infinity")
    return rows, packed, scales, table
