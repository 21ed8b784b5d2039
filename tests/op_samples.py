"""What the tests of the ops share: sizes that are awkward, random ragged data, and the rule for rounding errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flmr.ops import native
from flmr.ops.coded import Codebook, Coded
from flmr.ops.trellis import scale_table, trellis_levels
from flmr.records import MultiVectors

ISAS = native.isas()
DIMS = (1, 3, 17, 64, 128, 130, 384, 1000)
NBITS = (1, 2, 3, 4, 8)
LENGTHS = (5, 0, 100, 1, 1, 1, 33, 0, 7)  # empty, single, longer than a tile


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def ragged(rng: np.random.Generator, lengths: Sequence[int], dim: int, dtype: type = np.float32) -> MultiVectors:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return MultiVectors(normal(rng, int(offsets[-1]), dim).astype(dtype), offsets)


def coded(
    rng: np.random.Generator, lengths: Sequence[int], dim: int, nbits: int, num_centroids: int = 37
) -> tuple[Codebook, Coded]:
    """Random arrays as an index would hold them for items of these lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(offsets[-1])
    centroids = rng.integers(-127, 128, (num_centroids, dim)).astype(np.int8)
    scales = rng.uniform(0.001, 0.01, num_centroids).astype(np.float32)
    book = Codebook(centroids, scales, scale_table(0.01), trellis_levels(nbits), nbits)
    packed = rng.integers(1, 256, (count, (dim * nbits + 7) // 8)).astype(np.uint8)
    codes = rng.integers(0, num_centroids, count).astype(np.uint16)
    return book, Coded(offsets, codes, packed, rng.integers(150, 256, count).astype(np.uint8))


def assert_no_worse_than_twice(fast: np.ndarray, plain: np.ndarray, truth: np.ndarray) -> None:
    """The fast path may err twice as much as plain NumPy at that precision, plus the rounding of the result."""
    assert fast.shape == truth.shape
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(fast[~finite], truth[~finite].astype(fast.dtype))
    if finite.any():
        error, allowed = (np.abs(x[finite].astype(np.float64) - truth[finite]).max() for x in (fast, plain))
        assert error <= 2 * allowed + np.finfo(np.float32).eps * np.abs(truth[finite]).max()


def plain_maxsim(query: np.ndarray, document: np.ndarray, dtype: type) -> float:
    """The formula in one NumPy expression at the given precision."""
    if len(document) == 0:
        return -np.inf
    return float((query.astype(dtype) @ document.astype(dtype).T).max(axis=1).sum(dtype=dtype))
