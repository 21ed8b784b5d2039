"""What a random order of all passages would reach: the exact expectation of each measure.

Knows counts only: N passages, p of them positive, the first k looked at.  Knows no run and no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from flmr.errors import InvalidInput


def hit_chance(num_positives: int, num_passages: int, k: int) -> float:
    """Probability that the first k of a random order hold a positive: 1 - C(N-p, k) / C(N, k)."""
    check_counts(num_positives, num_passages, k)
    if k > num_passages - num_positives:
        return float(num_positives > 0)
    # C(N-p, k) / C(N, k) is a product of k factors, and also of p factors: the shorter one is taken.
    few, many = sorted((num_positives, k))
    log_miss = sum(math.log1p(-many / (num_passages - i)) for i in range(few))
    return -math.expm1(log_miss)


def set_recall_chance(num_positives: int, num_passages: int, k: int) -> float:
    """Expected share of the positives among the first k: k / N."""
    check_counts(num_positives, num_passages, k)
    return min(k, num_passages) / num_passages


def reciprocal_rank_chance(num_positives: int, num_passages: int, k: int) -> float:
    """Expected 1 / rank of the first positive, 0 where it is not among the first k."""
    check_counts(num_positives, num_passages, k)
    expected, none_so_far = 0.0, 1.0
    for i in range(min(k, num_passages)):
        here = none_so_far * num_positives / (num_passages - i)
        expected += here / (i + 1)
        none_so_far -= here
    return expected


def ndcg_chance(grades: list[int], num_passages: int, k: int) -> float:
    """Expected nDCG@k with linear gains: each place holds the mean gain, the ideal order the largest grades first."""
    check_counts(len(grades), num_passages, k)
    ideal = sum(grade * weight for grade, weight in zip(sorted(grades, reverse=True), _discounts(k), strict=False))
    places = sum(weight for _, weight in zip(range(num_passages), _discounts(k), strict=False))
    return sum(grades) / num_passages * places / ideal


def check_counts(num_positives: int, num_passages: int, k: int) -> None:
    """Raise InvalidInput unless 0 <= p <= N and k >= 1."""
    if k < 1:
        raise InvalidInput(f"k must be at least 1, not {k}")
    if not 0 <= num_positives <= num_passages:
        raise InvalidInput(f"{num_positives} positives among num_passages={num_passages}; give the size of the corpus")


def _discounts(k: int) -> Iterator[float]:
    return (1 / math.log2(rank + 1) for rank in range(1, k + 1))
