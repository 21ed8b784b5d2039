"""The nearest centroid of each vector.  Knows squared distances, nothing of clusters or codecs."""

# T vectors, K centroids, D dim.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same


def assign(
    vectors_TD: Array, centroids_KD: Array, *, threads: int | None = None, isa: str | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Row of the nearest centroid of each vector by squared L2, ties to the lower row, and that squared distance.

    vectors_TD: float32 or float16.  centroids_KD: float32, K >= 1.  Returns (T,) uint32, (T,) float32.
    A vector with NaN gets row 0 and distance NaN.  Raises InvalidInput on a wrong type or shape or without centroids.
    """
    vectors, centroids = _checked(vectors_TD, centroids_KD)
    codes = np.empty(len(vectors), np.uint32)
    distances = np.empty(len(vectors), np.float32)
    native.call("assign", vectors, centroids, codes, distances, native.thread_count(threads), native.isa(isa))
    return codes, distances


def assign_reference(vectors_TD: Array, centroids_KD: Array) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The same in NumPy, in float64, one vector at a time."""
    vectors, centroids = _checked(vectors_TD, centroids_KD)
    codes = np.empty(len(vectors), np.uint32)
    distances = np.empty(len(vectors), np.float32)
    for t, vector in enumerate(vectors.astype(np.float64)):
        distances_K = np.square(centroids - vector).sum(axis=1)
        codes[t] = distances_K.argmin()
        distances[t] = distances_K[codes[t]]
    return codes, distances


def _checked(vectors_TD: Array, centroids_KD: Array) -> tuple[Array, Array]:
    vectors = ready("vectors", vectors_TD, np.float32, np.float16, ndim=2)
    centroids = ready("centroids", centroids_KD, np.float32, ndim=2)
    same("D", vectors=vectors.shape[1], centroids=centroids.shape[1])
    if len(centroids) == 0:
        raise InvalidInput("there must be at least one centroid")
    if vectors.shape[1] == 0:
        raise InvalidInput("vectors must have at least one dimension")
    return vectors, centroids
