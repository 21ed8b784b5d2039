"""Centroids of a sample of vectors: Lloyd's k-means with nearest centroids from products of bytes.

Knows vectors and a seed.  Knows nothing of codecs or files.  The same seed gives the same bytes at any thread count
and on every instruction set.

Shapes: S sampled vectors, D dimension, K centroids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from flmr.errors import InvalidInput
from flmr.ops.arrays import in_memory, is_tensor
from flmr.ops.assign import assign_rounded, round_rows
from flmr.ops.means import means

Rows = TypeVar("Rows", bound=Any)  # an array, or a tensor on any device

# Mean squared residual of 305,949 token states (128-d, length 1, 2,048 centroids) after 4, 6, 8 and 12 iterations on 64
# vectors a centroid: .458 .453 .450 .448; on 32: .468 .463 .462 .460; float32 on all of them, 24 iterations: .440.
ITERATIONS = 8


def kmeans(
    vectors_SD: Rows,
    num_centroids: int,
    *,
    seed: int = 0,
    iterations: int = ITERATIONS,
    threads: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Rows:
    """At most `num_centroids` centroids, (K, D) float32: fewer where there are fewer distinct vectors.

    vectors_SD: float32 or float16, at least one row.  num_centroids: at most 65,536.  report: called with (iterations
    done, of).  Raises InvalidInput on none.  Of a tensor a tensor on its device: vectors that an encoder left on a CUDA
    device are clustered there, by the same steps, whose sums are rounded in another order (`flmr.ops.assign_torch`).
    """
    if len(vectors_SD) == 0 or num_centroids < 1:
        raise InvalidInput(
            f"k-means needs at least one vector and one centroid, not {len(vectors_SD)} and {num_centroids}"
        )
    order = np.random.default_rng(seed).permutation(len(vectors_SD))
    first_KD: Any = vectors_SD[np.sort(order[:num_centroids])]
    centroids_KD: Any = first_KD.float() if is_tensor(first_KD) else np.ascontiguousarray(first_KD, np.float32)
    for step in range(iterations):
        rounded_KD, scales_K = round_rows(centroids_KD)
        codes_S, distances_S = assign_rounded(vectors_SD, rounded_KD, scales_K, threads=threads)
        means_KD, counts_K = means(vectors_SD, codes_S, len(centroids_KD), threads=threads)
        off_S = distances_S > vectors_SD.shape[1] * ((scales_K / 2) ** 2)[codes_S]  # more than rounding explains
        distances_S[~off_S] = 0
        _repair(vectors_SD, distances_S, means_KD, counts_K)
        if report:
            report(step + 1, iterations)
        used_KD = means_KD[counts_K > 0]
        if used_KD.shape == centroids_KD.shape and (used_KD == centroids_KD).all():
            break
        centroids_KD = used_KD
    return centroids_KD  # type: ignore[no-any-return]


def _repair(vectors_SD: Any, distances_S: Any, means_KD: Any, counts_K: Any) -> None:
    """Move centroids that no vector chose onto the vectors that are farthest from theirs, if any is off its own."""
    if (counts_K > 0).all():
        return
    distances, counts = in_memory(distances_S), in_memory(counts_K)  # few numbers
    empty = np.flatnonzero(counts == 0)
    farthest = np.argsort(-distances, kind="stable")[: len(empty)]
    farthest = farthest[distances[farthest] > 0]
    means_KD[empty[: len(farthest)]] = vectors_SD[farthest].float() if is_tensor(means_KD) else vectors_SD[farthest]
    counts_K[empty[: len(farthest)]] = 1
