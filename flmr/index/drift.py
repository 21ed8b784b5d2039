"""Drift: do the centroids of an index still lie where its new vectors are?  If not, more are put there.

Knows codecs and vectors that are to be encoded.  Knows nothing of files or commits.

Old centroids keep their places, and rotation and scales stay: what was encoded before is valid with the grown codec.
Nothing is decoded for it to be encoded again, which would lose as much once more as the first encoding has lost.

Shapes: S sampled vectors, T vectors, D dimension, K centroids.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from flmr.index.codec import MAX_CENTROIDS, Codec, Rows, num_centroids
from flmr.index.kmeans import kmeans
from flmr.ops.arrays import Device, in_memory, placed
from flmr.ops.assign import round_rows

log = logging.getLogger(__name__)

# Mean squared residual of new vectors over that of those the codec was fitted to, which it knows best: other documents
# of one text collection have 1.13 where it was fitted to 2,000 documents and 1.26 where to 500, a new topic 1.4 to 2.
DRIFTED = 1.1
# New centroids a new vector, times what a fresh build has.  A small batch is a poor sample of its topic: grown in 100
# batches by topic from a tenth (305,949 token states, 2 scalar bits) recall@100 is .744 without new centroids, .780,
# .795 and .814 with 1, 2 and 3 times as many, .805 built at once; through the trellis .848 with 2.5, .846 at once.
DENSITY = 2.5
LEAST_PER_CENTROID = 8  # vectors: a mean of fewer is no centroid


def grown(
    codec: Codec,
    sample_SD: Rows,
    num_vectors: int,
    *,
    seed: int,
    threads: int | None = None,
    device: Device = "cpu",
    report: Callable[[int, int], None] | None = None,
) -> Codec:
    """The codec itself, or where `num_vectors` new vectors have drifted, with more centroids after its own.

    sample_SD: of the new vectors, float32 or float16; of an array `device` says where it is looked at.  The new
    centroids are means of those vectors that are farther from the old ones than is usual.
    """
    if codec.residual is None or not len(sample_SD):
        return codec
    sample_SD = placed(sample_SD, device)
    distances_S = codec.distances(sample_SD, threads=threads)
    far = np.flatnonzero(distances_S > codec.residual)
    total = codec.fitted_on + num_vectors
    wanted = round(DENSITY * num_centroids(total, total) * num_vectors / total)
    wanted = min(wanted, MAX_CENTROIDS - len(codec.centroids_KD), len(far) // LEAST_PER_CENTROID)
    if not drifted(distances_S, codec.residual) or wanted < 1:
        return codec
    log.info("%d new vectors lie far from their centroids: %d more", num_vectors, wanted)
    rotated_SD = codec.rotate(sample_SD[far], threads=threads)
    added_KD, scales_K = round_rows(in_memory(kmeans(rotated_SD, wanted, seed=seed, threads=threads, report=report)))
    return replace(
        codec,
        centroids_KD=np.concatenate([codec.centroids_KD, added_KD]),
        centroid_scales_K=np.concatenate([codec.centroid_scales_K, scales_K]),
        fitted_on=total,
    )


def drifted(distances_S: np.ndarray, residual: float) -> bool:
    """Whether vectors lie so much farther from their centroids than those that a codec was fitted to."""
    return float(distances_S.sum(dtype=np.float64)) > DRIFTED * residual * len(distances_S)


def extends(codec: Codec, other: Codec) -> bool:
    """Whether `codec` was grown from `other`, whose codes are then also its own."""
    count = len(other.centroids_KD)
    return codec.rotation is other.rotation and np.array_equal(codec.centroids_KD[:count], other.centroids_KD)
