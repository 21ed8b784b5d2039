"""The best k of a list of scores.  Knows numbers and ranks, nothing of what they mean."""

# N scores, k wanted.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same


def topk(scores_N: Array, k: int, *, ranks_N: Array | None = None, isa: str | None = None) -> NDArray[np.int64]:
    """Rows of the k best scores, best first; ties go to the lower rank, or to the lower row without ranks.

    scores_N: float32; rows that are -inf or NaN are never returned, so there may be fewer than k.  ranks_N: int64,
    distinct.  Returns (<= k,) int64.  Raises InvalidInput for k < 0 or a wrong type or shape.
    """
    scores, ranks = _checked(scores_N, k, ranks_N)
    rows = np.empty(min(k, len(scores)), np.int64)
    found = native.call("topk", scores, ranks, rows, native.isa(isa))
    return rows[:found]


def topk_reference(scores_N: Array, k: int, *, ranks_N: Array | None = None) -> NDArray[np.int64]:
    """The same by a full sort in NumPy."""
    scores, ranks = _checked(scores_N, k, ranks_N)
    rows = np.flatnonzero(scores > -np.inf)
    ties = rows if ranks is None else ranks[rows]
    return rows[np.lexsort((ties, -scores[rows]))][:k].astype(np.int64)


def best_rows(scores_N: Array, count: int) -> NDArray[np.uint32]:
    """Rows of the `count` best scores, ascending: uint32; ties go to the lower row; -inf and NaN are never among them.

    Raises InvalidInput for count < 0 or a wrong type or shape.
    """
    scores, _ = _checked(scores_N, count, None)
    rows = np.empty(min(count, len(scores)), np.uint32)
    return rows[: native.call("best_rows", scores, rows)]


def best_rows_reference(scores_N: Array, count: int) -> NDArray[np.uint32]:
    """The same by a full sort in NumPy."""
    return np.sort(topk_reference(scores_N, count)).astype(np.uint32)


def _checked(scores_N: Array, k: int, ranks_N: Array | None) -> tuple[Array, Array | None]:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise InvalidInput(f"k must be a whole number from 0, not {k!r}")
    scores = ready("scores", scores_N, np.float32, ndim=1)
    if ranks_N is None:
        return scores, None
    ranks = ready("ranks", ranks_N, np.int64, ndim=1)
    same("length", scores=len(scores), ranks=len(ranks))
    return scores, ranks
