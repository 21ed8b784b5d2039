"""The inverted lists of a segment: for each centroid, the items that have a vector there, as gaps in a few bytes.

Knows codes, offsets and how a list is written (see flmr.ops.probe).  Knows nothing of files.

Shapes: N items, T vectors, K centroids.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.ops.probe import MAX_BYTES, decode_numbers

BYTES_PER_ROW = 64  # int64 codes, items and pairs, and what sorting them needs


def list_sizes(codes_T: np.ndarray, offsets_N1: np.ndarray, num_centroids: int, memory_bytes: int) -> np.ndarray:
    """Bytes of each centroid's list: (K,) int64; an item counts once however many of its vectors are there."""
    sizes_K, lasts_K = np.zeros(num_centroids, np.int64), np.zeros(num_centroids, np.int64)
    for codes, items in _pairs(codes_T, offsets_N1, memory_bytes):
        sizes_K += np.bincount(codes, _lengths(_gaps(codes, items, lasts_K)), num_centroids).astype(np.int64)
    return sizes_K


def list_parts(
    codes_T: np.ndarray, offsets_N1: np.ndarray, sizes_K: np.ndarray, memory_bytes: int
) -> Iterator[np.ndarray]:
    """The lists of centroids 0, 1, ... one after another, uint8, in parts that fit in memory.

    The codes are read once for every part: a second reading costs less than memory that is not there.
    """
    ends_K = np.cumsum(sizes_K)
    first = 0
    while first < len(sizes_K):
        before = int(ends_K[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends_K, before + memory_bytes // 4, side="right")))
        part = np.empty(int(ends_K[end - 1]) - before, np.uint8)
        cursor = ends_K[first:end] - sizes_K[first:end] - before
        lasts = np.zeros(end - first, np.int64)
        for codes, items in _pairs(codes_T, offsets_N1, memory_bytes):
            low, high = np.searchsorted(codes, (first, end))
            local = codes[low:high] - first
            gaps = _gaps(local, items[low:high], lasts)
            lengths = _lengths(gaps)
            written = np.bincount(local, lengths, end - first).astype(np.int64)
            within = np.cumsum(lengths) - lengths - (np.cumsum(written) - written)[local]
            _write(part, cursor[local] + within, gaps, lengths)
            cursor += written
        yield part
        first = end


def read_lists(blob: np.ndarray, offsets_K1: np.ndarray, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists of centroids first .. end, one after another: items int64, and how many each list has, int64.

    Raises CorruptIndex where the bytes are no lists.
    """
    offsets = np.asarray(offsets_K1[first : end + 1], np.int64)
    if offsets[0] < 0 or offsets[-1] > len(blob) or (np.diff(offsets) < 0).any():
        raise CorruptIndex(f"the offsets of lists {first} to {end} do not rise within {len(blob):,} bytes")
    try:
        gaps, stops = decode_numbers(np.asarray(blob[offsets[0] : offsets[-1]]))
    except InvalidInput as error:
        raise CorruptIndex(f"lists {first} to {end}: {error}") from error
    counts = np.diff(np.searchsorted(stops, offsets - offsets[0], side="right"))
    ends = (offsets[1:] - offsets[0])[np.diff(offsets) > 0]
    if not np.isin(ends, stops).all():
        raise CorruptIndex(f"lists {first} to {end}: a number goes on into the next list")
    firsts = (np.cumsum(counts) - counts)[counts > 0]
    inner = np.ones(len(gaps), bool)
    inner[firsts] = False
    if (gaps[inner] < 1).any():
        raise CorruptIndex(f"the lists {first} to {end} do not rise")
    totals = np.cumsum(gaps)
    before = np.zeros(len(counts), np.int64)
    before[counts > 0] = totals[firsts] - gaps[firsts]
    return totals - np.repeat(before, counts), counts


def _gaps(codes: np.ndarray, items: np.ndarray, lasts_K: np.ndarray) -> np.ndarray:
    """What is written for pairs sorted by centroid, then item; lasts_K, the last item of each list, moves on."""
    if len(codes) == 0:
        return codes
    starts = np.concatenate(([True], codes[1:] != codes[:-1]))
    gaps = np.empty(len(codes), np.int64)
    gaps[1:] = items[1:] - items[:-1]
    gaps[starts] = items[starts] - lasts_K[codes[starts]]
    ends = np.concatenate((starts[1:], [True]))
    lasts_K[codes[ends]] = items[ends]
    return gaps


def _lengths(gaps: np.ndarray) -> np.ndarray:
    """Bytes of each number: int64."""
    return np.searchsorted(1 << 7 * np.arange(1, MAX_BYTES), gaps, side="right") + 1


def _write(part: np.ndarray, places: np.ndarray, numbers: np.ndarray, lengths: np.ndarray) -> None:
    for byte in range(int(lengths.max(initial=0))):
        has = lengths > byte
        more = (lengths[has] > byte + 1) * 128
        part[places[has] + byte] = (numbers[has] >> (7 * byte) & 127) | more


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
