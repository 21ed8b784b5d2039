"""MaxSim of one query against items whose vectors are stored as they are.

Knows flat vectors; knows nothing of codes (see flmr.ops.coded), files or candidates.
"""

# Q query rows, D dim, T vectors of N items.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, Precision, count_items, in_precision, item_rows, ready, same, token_rows


def score_flat(
    query_QD: Array,
    items: Array | None,
    offsets_N1: Array,
    vectors_TD: Array,
    *,
    precision: Precision = "float32",
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of the query against each item.

    query_QD: float32.  items: uint32 rows to score, None for all.  offsets_N1: int64.  vectors_TD: float16 or float32.
    precision: "bfloat16" rounds both sides before they are multiplied.
    Returns (len(items),) float32; an item without rows scores -inf, a query without rows 0 against the others.
    Raises InvalidInput on a wrong type, shape, item, offset or precision.
    """
    arrays = _checked_flat(query_QD, items, offsets_N1, vectors_TD)
    out = np.empty(len(arrays[1]), np.float32)
    native.call("score_flat", *arrays, out, precision, native.thread_count(threads), native.isa(isa))
    return out


def score_flat_reference(
    query_QD: Array, items: Array | None, offsets_N1: Array, vectors_TD: Array, *, precision: Precision = "float32"
) -> NDArray[np.float32]:
    """The same in NumPy, with products and sums in float64."""
    query, rows, offsets, vectors = _checked_flat(query_QD, items, offsets_N1, vectors_TD)
    query = in_precision(query, precision)
    out = np.full(len(rows), -np.inf, np.float32)
    for i, tokens in enumerate(token_rows(offsets, rows)):
        if len(tokens):
            out[i] = (query @ in_precision(vectors[tokens], precision).T).max(axis=1).sum()
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
