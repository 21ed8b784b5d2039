"""Vectors as late interaction makes them, clustered and of unit length, and what brute force says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clustered_items(
    num_items: int,
    dim: int = 16,
    *,
    seed: int = 0,
    rows: tuple[int, int] = (1, 12),
    noise: float = 0.5,
    topics: int = 40,
) -> list[np.ndarray]:
    """Items whose rows lie around a few of many centres: each (n, dim) float32, rows[0] <= n <= rows[1]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((topics * 4, dim)).astype(np.float32)
    items = []
    for _ in range(num_items):
        count = int(rng.integers(rows[0], rows[1] + 1))
        topic = int(rng.integers(topics))
        picks = np.where(
            rng.random(count) < 0.6, topic * 4 + rng.integers(4, size=count), rng.integers(len(centres), size=count)
        )
        vectors = centres[picks] + noise * rng.standard_normal((count, dim)).astype(np.float32)
        items.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return items


def queries_near(
    items: Sequence[np.ndarray], count: int, *, seed: int = 1, rows: int = 8, noise: float = 0.6
) -> list[np.ndarray]:
    """Queries made of noisy rows of items: each (rows or fewer, dim) float32."""
    rng = np.random.default_rng(seed)
    full = [item for item in items if len(item)]
    queries = []
    for _ in range(count):
        item = full[int(rng.integers(len(full)))]
        picked = item[rng.permutation(len(item))[:rows]]
        scale = noise / np.sqrt(item.shape[1])
        queries.append((picked + scale * rng.standard_normal(picked.shape)).astype(np.float32))
    return queries


def maxsim_scores(query: np.ndarray, items: Sequence[np.ndarray]) -> np.ndarray:
    """Brute force in float64: (N,), -inf for an item without rows."""
    query = query.astype(np.float64)
    return np.array([(query @ item.T.astype(np.float64)).max(axis=1).sum() if len(item) else -np.inf for item in items])


def best_ids(query: np.ndarray, items: dict[str, np.ndarray], k: int) -> list[str]:
    """The ids of the best k items by brute force, ties by id."""
    scores = maxsim_scores(query, list(items.values()))
    ranked = sorted(zip(-scores, items, strict=True))
    return [item_id for score, item_id in ranked if score < np.inf][:k]


def recall(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> float:
    """Mean share of what was wanted that was found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)]))
