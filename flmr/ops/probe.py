"""Which items to look at: from centroid scores to the items in the inverted lists of the best centroids.

Knows centroid scores and inverted lists; knows nothing of codes or files.

A list is bytes: its items ascending, each once, as the first item and then the gap to each next one (at least 1), every
number in LEB128: seven bits a byte, lowest first, the highest bit set where more follow.
"""

# Q query rows, K centroids, N items.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same

MAX_BYTES = 5  # of a number below 2**32


def probe(
    centroid_scores_QK: Array,
    list_offsets_K1: Array,
    lists: Array,
    *,
    nprobe: int,
    num_items: int,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.uint32]:
    """Items in the inverted lists of each query row's `nprobe` best centroids: the union, ascending, each once.

    centroid_scores_QK: float32; ties go to the lower centroid, NaN and -inf are never probed.  The list of centroid
    c is the bytes lists[list_offsets_K1[c]:list_offsets_K1[c + 1]] (offsets int64, lists uint8, items below num_items).
    Returns (<= num_items,) uint32.  Raises InvalidInput on a wrong type, shape, offset, number or item.
    """
    scores, offsets, checked = _checked_lists(centroid_scores_QK, list_offsets_K1, lists, nprobe, num_items)
    threads = native.thread_count(threads)
    found: NDArray[np.uint32] = native.call(
        "probe", scores, offsets, checked, nprobe, num_items, threads, native.isa(isa)
    )
    return found


def probe_reference(
    centroid_scores_QK: Array, list_offsets_K1: Array, lists: Array, *, nprobe: int, num_items: int
) -> NDArray[np.uint32]:
    """The same in NumPy by a full sort."""
    scores, offsets, checked = _checked_lists(centroid_scores_QK, list_offsets_K1, lists, nprobe, num_items)
    alive = np.zeros(num_items, bool)
    for scores_K in scores:
        usable = np.flatnonzero(scores_K > -np.inf)
        for centroid in usable[np.argsort(-scores_K[usable], kind="stable")][:nprobe]:
            alive[decode_list(checked[offsets[centroid] : offsets[centroid + 1]])] = True
    return np.flatnonzero(alive).astype(np.uint32)


def decode_list(stored: Array) -> NDArray[np.int64]:
    """The items of one list, ascending: int64.  stored: its bytes, uint8.  Raises InvalidInput."""
    return np.cumsum(decode_numbers(stored)[0])


def decode_numbers(stored: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers that stand one after another, and where each of them ends: int64 both.

    stored: uint8.  Raises InvalidInput where a number does not end within the bytes of the largest.
    """
    ends = np.flatnonzero(stored < 128) + 1
    starts = np.concatenate(([0], ends))[:-1]
    lengths = ends - starts
    if ends[-1:].sum() != len(stored) or lengths.max(initial=0) > MAX_BYTES:
        raise InvalidInput("a number does not end")
    numbers = np.zeros(len(ends), np.int64)
    for byte in range(int(lengths.max(initial=0))):
        has = lengths > byte
        numbers[has] |= (stored[starts[has] + byte].astype(np.int64) & 127) << (7 * byte)
    return numbers, ends


def _checked_lists(
    centroid_scores_QK: Array, list_offsets_K1: Array, lists: Array, nprobe: int, num_items: int
) -> tuple[Array, Array, Array]:
    scores = ready("centroid scores", centroid_scores_QK, np.float32, ndim=2)
    offsets = ready("list offsets", list_offsets_K1, np.int64, ndim=1)
    checked = ready("lists", lists, np.uint8, ndim=1)
    same("K", centroid_scores=scores.shape[1] + 1, list_offsets=len(offsets))
    if nprobe < 1 or num_items < 0:
        raise InvalidInput(f"nprobe must be at least 1 and num_items at least 0, not {nprobe} and {num_items}")
    return scores, offsets, checked
