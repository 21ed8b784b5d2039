"""MRR@K: how near the top is the first positive passage?

Knows ids.  Knows no text.
"""

from __future__ import annotations

from flmr.evaluate.chance import reciprocal_rank_chance as chance_of
from flmr.evaluate.relevance import Qrels, mean_over_questions
from flmr.evaluate.run import Run
from flmr.evaluate.standard import per_question


def reciprocal_rank(run: Run, qrels: Qrels, k: int) -> dict[str, float]:
    """1 / rank of the first positive, 0 where it is not among the first k: RR of ir-measures on the first k hits."""
    import ir_measures

    return per_question(ir_measures.RR, {q: ranking[:k] for q, ranking in run.items()}, qrels)


def reciprocal_rank_chance(qrels: Qrels, k: int, num_passages: int) -> float:
    """What a random order of all passages reaches, on average over the questions."""
    return mean_over_questions(qrels, lambda count: chance_of(count, num_passages, k))
