"""Guided refinement of a query's rows: gradient steps that bring its scores nearer to a mixture with another's.

Knows rows and scores of a few candidates.  Knows nothing of where they come from.  The gradient of MaxSim is written
out, so that searching needs no torch; the tests compare it with torch's.
"""

# Q query rows, N candidates, D dimension.

from __future__ import annotations

from itertools import pairwise

import numpy as np

from flmr.errors import InvalidInput
from flmr.hybrid.settings import Refinement
from flmr.records import MultiVectors


def refine(query_QD: np.ndarray, candidates: MultiVectors, guide_N: np.ndarray, settings: Refinement) -> np.ndarray:
    """The query's rows after some steps that bring their scores nearer to a target: (Q, D) float32.

    The target is a mixture of two softmaxes over the candidates, of the rows' first scores and of the guide's, each in
    its standard deviations; it stays while the rows move.  What gets smaller is the divergence of the target from the
    softmax of the rows' scores, in the first scores' deviations.  guide_N: by another system, in any unit.
    Nothing moves where all scores of either are equal.  Raises InvalidInput where a candidate has no rows.
    """
    rows_QD = query_QD.astype(np.float32)
    if len(candidates) != len(guide_N) or not candidates.lengths.all():
        raise InvalidInput("a refinement needs candidates that have rows, and one score of the guide for each")
    scores_N, _ = _maxsim(rows_QD, candidates)
    unit, guide_unit = scores_N.std(), np.std(guide_N)
    if not (unit > 0 and guide_unit > 0):
        return rows_QD
    own_N = _softmax(scores_N / (unit * settings.temperature))
    wanted_N = _softmax(np.asarray(guide_N, np.float64) / (guide_unit * settings.temperature))
    target_N = (1 - settings.mixture) * own_N + settings.mixture * wanted_N
    for _ in range(settings.steps):
        scores_N, best_NQ = _maxsim(rows_QD, candidates)
        short_N = target_N - _softmax(scores_N / (unit * settings.temperature))
        # d divergence / d scores = -short / (unit * temperature); that constant is left to the rate.
        rows_QD = rows_QD + np.float32(settings.rate) * np.einsum(
            "n,nqd->qd", short_N.astype(np.float32), candidates.vectors[best_NQ].astype(np.float32)
        )
    return rows_QD


def _maxsim(rows_QD: np.ndarray, candidates: MultiVectors) -> tuple[np.ndarray, np.ndarray]:
    """Each candidate's score, (N,), and which of the packed rows won for each row of the query, (N, Q)."""
    similarities_TQ = candidates.vectors.astype(np.float32) @ rows_QD.T
    bounds = candidates.offsets
    best_NQ = np.stack([first + similarities_TQ[first:last].argmax(axis=0) for first, last in pairwise(bounds)])
    return np.take_along_axis(similarities_TQ, best_NQ, axis=0).sum(axis=1, dtype=np.float64), best_NQ


def _softmax(values_N: np.ndarray) -> np.ndarray:
    powers_N = np.exp(values_N - values_N.max())
    return np.asarray(powers_N / powers_N.sum())
