"""Centroids of a sample of vectors: Lloyd's k-means on the assign op.

Knows vectors and a seed.  Knows nothing of codecs or files.  The same seed gives the same bytes at any thread count.

Shapes: S sampled vectors, D dimension, K centroids.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flmr.errors import InvalidInput
from flmr.ops.assign import assign

ITERATIONS = 8  # distortion falls by less than 1% from the 8th on (64 points a centroid)
GATHER_BYTES = 1 << 20  # vectors summed at once: bounds the copy that sorting by centroid needs


def kmeans(
    vectors_SD: np.ndarray,
    num_centroids: int,
    *,
    seed: int = 0,
    iterations: int = ITERATIONS,
    threads: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """At most `num_centroids` centroids, (K, D) float32: fewer where there are fewer distinct vectors.

    vectors_SD: float32, at least one row.  report: called with (iterations done, of).  Raises InvalidInput on none.
    """
    if len(vectors_SD) == 0 or num_centroids < 1:
        raise InvalidInput(
            f"k-means needs at least one vector and one centroid, not {len(vectors_SD)} and {num_centroids}"
        )
    order = np.random.default_rng(seed).permutation(len(vectors_SD))
    centroids_KD = np.ascontiguousarray(vectors_SD[np.sort(order[:num_centroids])], np.float32)
    for step in range(iterations):
        codes_S, distances_S = assign(vectors_SD, centroids_KD, threads=threads)
        means_KD, counts_K = cluster_means(vectors_SD, codes_S, len(centroids_KD))
        means_KD, counts_K = _repair(vectors_SD, distances_S, means_KD, counts_K)
        if report:
            report(step + 1, iterations)
        used_KD = means_KD[counts_K > 0]
        if used_KD.shape == centroids_KD.shape and (used_KD == centroids_KD).all():
            break
        centroids_KD = used_KD
    return centroids_KD


def cluster_means(vectors_SD: np.ndarray, codes_S: np.ndarray, num_centroids: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each centroid's vectors, (K, D) float32, zero where there is none, and their counts: (K,) int64."""
    counts_K = np.bincount(codes_S, minlength=num_centroids)
    order = np.argsort(codes_S, kind="stable")
    sums_KD = np.zeros((num_centroids, vectors_SD.shape[1]), np.float64)
    step = max(1, GATHER_BYTES // (4 * vectors_SD.shape[1]))
    for first in range(0, len(order), step):
        rows = order[first : first + step]
        codes = codes_S[rows]
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        sums_KD[codes[starts]] += np.add.reduceat(vectors_SD[rows], starts, axis=0, dtype=np.float64)
    return (sums_KD / np.maximum(counts_K, 1)[:, None]).astype(np.float32), counts_K


def _repair(
    vectors_SD: np.ndarray, distances_S: np.ndarray, means_KD: np.ndarray, counts_K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move centroids that no vector chose onto the vectors that are farthest from theirs, if any is off its own."""
    empty = np.flatnonzero(counts_K == 0)
    if len(empty) == 0:
        return means_KD, counts_K
    farthest = np.argsort(-distances_S, kind="stable")[: len(empty)]
    farthest = farthest[distances_S[farthest] > 0]
    means_KD, counts_K = means_KD.copy(), counts_K.copy()
    means_KD[empty[: len(farthest)]] = vectors_SD[farthest]
    counts_K[empty[: len(farthest)]] = 1
    return means_KD, counts_K
