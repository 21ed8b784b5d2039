"""Fewer rows an item: rows that are alike become one, their mean.

Knows ragged vectors; knows nothing of what they stand for.

The pair of clusters whose merger costs the least squared error is merged until one cluster is left for every `factor`
rows (Ward, "Hierarchical grouping to optimize an objective function", 1963).  The mean of a cluster is made as long as
its rows are on average, so that it scores as they did.
"""

# T vectors of N items, D dim.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, count_items, ready

STRETCH = 1024  # rows of an item that are clustered together: all pairs of them are looked at


def pool(
    vectors_TD: Array, offsets_N1: Array, factor: int, *, threads: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every item with ceil(rows / factor) rows, in the order of the first row of each cluster.

    vectors_TD: float16 or float32, finite.  offsets_N1: int64.  Items of more than 1,024 rows are clustered a stretch
    of neighbouring rows at a time.  Returns the vectors, float32, and the offsets, int64.  Raises InvalidInput.
    """
    vectors, offsets, pooled_N1 = _checked(vectors_TD, offsets_N1, factor)
    pooled = np.empty((int(pooled_N1[-1]), vectors.shape[1]), np.float32)
    run = native.thread_count(threads), native.isa()
    native.call("pool", vectors, offsets, factor, stretch_of(factor), pooled_N1, pooled, *run)
    return pooled, pooled_N1


def pool_reference(vectors_TD: Array, offsets_N1: Array, factor: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The same in NumPy: the cost of every merger from the means, in float64."""
    vectors, offsets, pooled_N1 = _checked(vectors_TD, offsets_N1, factor)
    pooled = []
    for i in range(len(offsets) - 1):
        for first in range(int(offsets[i]), int(offsets[i + 1]), stretch_of(factor)):
            rows = vectors[first : min(first + stretch_of(factor), int(offsets[i + 1]))].astype(np.float64)
            clusters = [[row] for row in range(len(rows))]
            while len(clusters) > -(-len(rows) // factor):
                means = np.array([rows[cluster].mean(axis=0) for cluster in clusters])
                sizes = np.array([len(cluster) for cluster in clusters])
                costs = np.square(means[:, None] - means).sum(axis=2) * sizes[:, None] * sizes
                costs /= sizes[:, None] + sizes
                np.fill_diagonal(costs, np.inf)
                a, b = sorted(divmod(int(costs.argmin()), len(clusters)))
                clusters[a] += clusters.pop(b)
            for cluster in sorted(clusters, key=min):
                total = rows[cluster].sum(axis=0)
                length = np.linalg.norm(rows[cluster], axis=1).mean()
                norm = np.linalg.norm(total)
                pooled.append(total * (length / norm if norm > 0 else 0))
    shape = (int(pooled_N1[-1]), vectors.shape[1])
    return np.array(pooled, np.float32).reshape(shape), pooled_N1


def group(vectors_TD: Array, factor: int) -> NDArray[np.int64]:
    """The cluster of each row of one item, (T,), numbered in the order of their first rows: what `pool` averages.

    vectors_TD: float16 or float32, finite.  For whoever needs the clusters and not their means: gradients go through
    sums of rows.  The cost of a merger follows from those of its parts (Lance and Williams 1967).  Raises InvalidInput.
    """
    vectors, _, _ = _checked(vectors_TD, np.array([0, len(vectors_TD)], np.int64), factor)
    labels = np.empty(len(vectors), np.int64)
    found = 0
    for first in range(0, len(vectors), stretch_of(factor)):
        stretch = slice(first, first + stretch_of(factor))
        labels[stretch] = found + _group(vectors[stretch].astype(np.float64), -(-len(vectors[stretch]) // factor))
        found = int(labels[stretch].max()) + 1
    return labels


def _group(rows: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    squares = np.square(rows).sum(axis=1)
    costs = np.maximum(squares[:, None] + squares - 2 * (rows @ rows.T), 0) / 2
    np.fill_diagonal(costs, np.inf)
    sizes, owner = np.ones(len(rows)), np.arange(len(rows))
    for _ in range(len(rows) - count):
        a, b = sorted(divmod(int(costs.argmin()), len(rows)))
        total = sizes[a] + sizes[b] + sizes
        costs[a] = ((sizes[a] + sizes) * costs[a] + (sizes[b] + sizes) * costs[b] - sizes * costs[a, b]) / total
        costs[b] = np.inf
        costs[a, [a, b]] = np.inf
        costs[:, a], costs[:, b] = costs[a], np.inf
        sizes[a] += sizes[b]
        owner[owner == b] = a
    return np.unique(owner, return_inverse=True)[1].astype(np.int64)


def stretch_of(factor: int) -> int:
    """Rows that are clustered together: a multiple of the factor, so that stretches cost no row."""
    return max(1, STRETCH // factor) * factor


def _checked(vectors_TD: Array, offsets_N1: Array, factor: int) -> tuple[Array, Array, NDArray[np.int64]]:
    vectors = ready("vectors", vectors_TD, np.float16, np.float32, ndim=2)
    offsets = ready("offsets", offsets_N1, np.int64, ndim=1)
    if isinstance(factor, bool) or not isinstance(factor, int) or not 1 <= factor <= STRETCH:
        raise InvalidInput(f"the factor of pooling must be a whole number from 1 to {STRETCH:,}, not {factor!r}")
    count_items(offsets)
    if offsets[0] != 0 or offsets[-1] != len(vectors) or (np.diff(offsets) < 0).any():
        raise InvalidInput(f"offsets must rise from 0 to the {len(vectors):,} vectors")
    if vectors.shape[1] == 0:
        raise InvalidInput("vectors must have at least one dimension")
    return vectors, offsets, np.concatenate(([0], np.cumsum(-(-np.diff(offsets) // factor)))).astype(np.int64)
