"""The inverted lists of a segment: for each centroid, the items that have a vector there.

Knows codes and offsets.  Knows nothing of files beyond appending to one.

Shapes: N items, T vectors, K centroids, E entries of all lists.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BYTES_PER_ROW = 64  # int64 codes, items and pairs, and what sorting them needs


def list_counts(codes_T: np.ndarray, offsets_N1: np.ndarray, num_centroids: int, memory_bytes: int) -> np.ndarray:
    """Items in the list of each centroid: (K,) int64; an item counts once however many of its vectors are there."""
    counts_K = np.zeros(num_centroids, np.int64)
    for codes, _ in _pairs(codes_T, offsets_N1, memory_bytes):
        counts_K += np.bincount(codes, minlength=num_centroids)
    return counts_K


def list_parts(
    codes_T: np.ndarray, offsets_N1: np.ndarray, counts_K: np.ndarray, memory_bytes: int
) -> Iterator[np.ndarray]:
    """The lists of centroids 0, 1, ... one after another, items ascending, uint32, in parts that fit in memory.

    The codes are read once for every part: a second reading costs less than memory that is not there.
    """
    ends_K = np.cumsum(counts_K)
    first = 0
    while first < len(counts_K):
        before = int(ends_K[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends_K, before + memory_bytes // 4, side="right")))
        part = np.empty(int(ends_K[end - 1]) - before, np.uint32)
        cursor = ends_K[first:end] - counts_K[first:end] - before
        for codes, items in _pairs(codes_T, offsets_N1, memory_bytes):
            low, high = np.searchsorted(codes, (first, end))
            local = codes[low:high] - first
            counts = np.bincount(local, minlength=end - first)
            starts = np.cumsum(counts) - counts
            part[(cursor - starts)[local] + np.arange(len(local))] = items[low:high]
            cursor += counts
        yield part
        first = end


def _pairs(codes_T: np.ndarray, offsets_N1: np.ndarray, memory_bytes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distinct (centroid, item) pairs sorted by centroid, then item: int64 both; whole items at a time."""
    item = 0
    num_items = len(offsets_N1) - 1
    while item < num_items:
        end = max(
            item + 1,
            int(np.searchsorted(offsets_N1, offsets_N1[item] + memory_bytes // BYTES_PER_ROW, side="right")) - 1,
        )
        codes = codes_T[offsets_N1[item] : offsets_N1[end]].astype(np.int64)
        items = np.repeat(np.arange(item, end), np.diff(offsets_N1[item : end + 1]))
        pairs = np.unique(codes << 32 | items)
        yield pairs >> 32, pairs & 0xFFFFFFFF
        item = end
