"""Which items to look at: from centroid scores to candidates, and their scores with every vector as its centroid.

Knows centroid scores, inverted lists and codes; knows nothing of residuals or files.
"""

# Q query rows, K centroids, T vectors of N items.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, count_items, item_rows, ready, same, token_rows


def probe(
    centroid_scores_QK: Array,
    list_offsets_K1: Array,
    list_items: Array,
    *,
    nprobe: int,
    num_items: int,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.uint32]:
    """Items in the inverted lists of each query row's `nprobe` best centroids: the union, ascending, each once.

    centroid_scores_QK: float32; ties go to the lower centroid, NaN and -inf are never probed.  The list of centroid
    c is list_items[list_offsets_K1[c]:list_offsets_K1[c + 1]] (offsets int64, items uint32 below num_items).
    Returns (<= num_items,) uint32.  Raises InvalidInput on a wrong type, shape, offset or item.
    """
    scores, offsets, items = _checked_lists(centroid_scores_QK, list_offsets_K1, list_items, nprobe, num_items)
    threads = native.thread_count(threads)
    found: NDArray[np.uint32] = native.call(
        "probe", scores, offsets, items, nprobe, num_items, threads, native.isa(isa)
    )
    return found


def probe_reference(
    centroid_scores_QK: Array, list_offsets_K1: Array, list_items: Array, *, nprobe: int, num_items: int
) -> NDArray[np.uint32]:
    """The same in NumPy by a full sort."""
    scores, offsets, items = _checked_lists(centroid_scores_QK, list_offsets_K1, list_items, nprobe, num_items)
    alive = np.zeros(num_items, bool)
    for scores_K in scores:
        usable = np.flatnonzero(scores_K > -np.inf)
        for centroid in usable[np.argsort(-scores_K[usable], kind="stable")][:nprobe]:
            alive[items[offsets[centroid] : offsets[centroid + 1]]] = True
    return np.flatnonzero(alive).astype(np.uint32)


def approximate(
    centroid_scores_QK: Array,
    codes_T: Array,
    offsets_N1: Array,
    items: Array | None,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of each item with every vector replaced by its centroid.

    centroid_scores_QK: float32 (the transpose of a C-ordered (K, Q) array is used in place, another is copied).
    codes_T: uint32.  offsets_N1: int64.  items: uint32 rows to score, None for all.  Returns (len(items),) float32;
    an item without rows scores -inf.  Raises InvalidInput on a wrong type, shape, item, offset or code.
    """
    scores, codes, offsets, rows = _checked_codes(centroid_scores_QK, codes_T, offsets_N1, items)
    table_KQ = np.require(scores.T, requirements=["C", "A"])
    out = np.empty(len(rows), np.float32)
    threads = native.thread_count(threads)
    native.call("approximate", table_KQ, codes, offsets, rows, out, threads, native.isa(isa))
    return out


def approximate_reference(
    centroid_scores_QK: Array, codes_T: Array, offsets_N1: Array, items: Array | None
) -> NDArray[np.float32]:
    """The same in NumPy."""
    scores, codes, offsets, rows = _checked_codes(centroid_scores_QK, codes_T, offsets_N1, items)
    out = np.full(len(rows), -np.inf, np.float32)
    for i, tokens in enumerate(token_rows(offsets, rows)):
        if len(tokens):
            out[i] = scores[:, codes[tokens]].max(axis=1).sum(dtype=np.float64)
    return out


def _checked_lists(
    centroid_scores_QK: Array, list_offsets_K1: Array, list_items: Array, nprobe: int, num_items: int
) -> tuple[Array, Array, Array]:
    scores = ready("centroid scores", centroid_scores_QK, np.float32, ndim=2)
    offsets = ready("list offsets", list_offsets_K1, np.int64, ndim=1)
    items = ready("list items", list_items, np.uint32, ndim=1)
    same("K", centroid_scores=scores.shape[1] + 1, list_offsets=len(offsets))
    if nprobe < 1 or num_items < 0:
        raise InvalidInput(f"nprobe must be at least 1 and num_items at least 0, not {nprobe} and {num_items}")
    return scores, offsets, items


def _checked_codes(
    centroid_scores_QK: Array, codes_T: Array, offsets_N1: Array, items: Array | None
) -> tuple[Array, Array, Array, Array]:
    if not isinstance(centroid_scores_QK, np.ndarray) or centroid_scores_QK.ndim != 2:
        raise InvalidInput("centroid scores must be a NumPy array of shape (Q, K)")
    if centroid_scores_QK.dtype != np.float32:
        raise InvalidInput(f"centroid scores must be float32, not {centroid_scores_QK.dtype}; cast them first")
    codes = ready("codes", codes_T, np.uint32, ndim=1)
    offsets = ready("offsets", offsets_N1, np.int64, ndim=1)
    return centroid_scores_QK, codes, offsets, item_rows(items, count_items(offsets))
