"""MaxSim of one query against stored items, straight from what is stored.

Knows codes, packed residuals and flat vectors; knows nothing of files, candidates or rotations (the query comes
rotated where the residuals are).
"""

# Q query rows, D dim, K centroids, L levels, P bytes a packed residual, T vectors of N items.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, count_items, item_rows, ready, same, token_rows
from flmr.ops.residual import checked_levels, dequantize_reference, packed_size


def score(
    query_QD: Array,
    items: Array | None,
    offsets_N1: Array,
    codes_T: Array,
    packed_TP: Array,
    scales_T: Array,
    centroids_KD: Array,
    levels_L: Array,
    *,
    nbits: int,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of the query against each item, whose vectors are centroid[code] + scale * levels[packed].

    query_QD, centroids_KD, levels_L: float32.  items: uint32 rows to score, None for all.  offsets_N1: int64.
    codes_T: uint32.  packed_TP: uint8.  scales_T: float16.  Returns (len(items),) float32; an item without rows
    scores -inf, a query without rows 0 against the others.  Only a tile of vectors is ever decompressed at a time.
    Raises InvalidInput on a wrong type, shape, item, offset or code.
    """
    arrays = _checked(query_QD, items, offsets_N1, codes_T, packed_TP, scales_T, centroids_KD, levels_L, nbits)
    out = np.empty(len(arrays[1]), np.float32)
    native.call("score", *arrays, nbits, out, native.thread_count(threads), native.isa(isa))
    return out


def score_reference(
    query_QD: Array,
    items: Array | None,
    offsets_N1: Array,
    codes_T: Array,
    packed_TP: Array,
    scales_T: Array,
    centroids_KD: Array,
    levels_L: Array,
    *,
    nbits: int,
) -> NDArray[np.float32]:
    """The same in NumPy, in float64, decompressing one item at a time."""
    query, rows, offsets, codes, packed, scales, centroids, levels = _checked(
        query_QD, items, offsets_N1, codes_T, packed_TP, scales_T, centroids_KD, levels_L, nbits
    )
    out = np.full(len(rows), -np.inf, np.float32)
    for i, tokens in enumerate(token_rows(offsets, rows)):
        if len(tokens):
            residuals = dequantize_reference(packed[tokens], scales[tokens], levels, nbits=nbits, dim=query.shape[1])
            vectors = centroids[codes[tokens]].astype(np.float64) + residuals
            out[i] = (query @ vectors.T).max(axis=1).sum()
    return out


def score_flat(
    query_QD: Array,
    items: Array | None,
    offsets_N1: Array,
    vectors_TD: Array,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of the query against each item, whose vectors are stored as they are.

    query_QD: float32.  vectors_TD: float16 or float32.  The rest, the result and the errors as in `score`.
    """
    arrays = _checked_flat(query_QD, items, offsets_N1, vectors_TD)
    out = np.empty(len(arrays[1]), np.float32)
    native.call("score_flat", *arrays, out, native.thread_count(threads), native.isa(isa))
    return out


def score_flat_reference(
    query_QD: Array, items: Array | None, offsets_N1: Array, vectors_TD: Array
) -> NDArray[np.float32]:
    """The same in NumPy, in float64."""
    query, rows, offsets, vectors = _checked_flat(query_QD, items, offsets_N1, vectors_TD)
    out = np.full(len(rows), -np.inf, np.float32)
    for i, tokens in enumerate(token_rows(offsets, rows)):
        if len(tokens):
            out[i] = (query.astype(np.float64) @ vectors[tokens].T.astype(np.float64)).max(axis=1).sum()
    return out


def _checked_flat(
    query_QD: Array, items: Array | None, offsets_N1: Array, vectors_TD: Array
) -> tuple[Array, Array, Array, Array]:
    query = ready("query", query_QD, np.float32, ndim=2)
    vectors = ready("vectors", vectors_TD, np.float32, np.float16, ndim=2)
    offsets = ready("offsets", offsets_N1, np.int64, ndim=1)
    if same("D", query=query.shape[1], vectors=vectors.shape[1]) == 0:
        raise InvalidInput("vectors must have at least one dimension")
    return query, item_rows(items, count_items(offsets)), offsets, vectors


def _checked(
    query_QD: Array,
    items: Array | None,
    offsets_N1: Array,
    codes_T: Array,
    packed_TP: Array,
    scales_T: Array,
    centroids_KD: Array,
    levels_L: Array,
    nbits: int,
) -> tuple[Array, Array, Array, Array, Array, Array, Array, Array]:
    query = ready("query", query_QD, np.float32, ndim=2)
    offsets = ready("offsets", offsets_N1, np.int64, ndim=1)
    codes = ready("codes", codes_T, np.uint32, ndim=1)
    packed = ready("packed", packed_TP, np.uint8, ndim=2)
    scales = ready("scales", scales_T, np.float16, ndim=1)
    centroids = ready("centroids", centroids_KD, np.float32, ndim=2)
    levels = checked_levels(levels_L, nbits)
    same("D", query=query.shape[1], centroids=centroids.shape[1])
    same("T", codes=len(codes), packed=len(packed), scales=len(scales))
    same("bytes a vector", packed=packed.shape[1], needed=packed_size(nbits, query.shape[1]))
    return query, item_rows(items, count_items(offsets)), offsets, codes, packed, scales, centroids, levels
