"""Set recall@K: which share of the positive passages is among the first K?

Knows ids.  Knows no text.
"""

from __future__ import annotations

from flmr.evaluate.chance import set_recall_chance as chance_of
from flmr.evaluate.relevance import Qrels, mean_over_questions
from flmr.evaluate.run import Run
from flmr.evaluate.standard import per_question


def set_recall(run: Run, qrels: Qrels, k: int) -> dict[str, float]:
    """Positives among the first k divided by all positives: R@k of ir-measures, what BEIR calls Recall@K."""
    import ir_measures

    return per_question(ir_measures.R @ k, run, qrels)


def set_recall_chance(qrels: Qrels, k: int, num_passages: int) -> float:
    """What a random order of all passages reaches, on average over the questions."""
    return mean_over_questions(qrels, lambda count: chance_of(count, num_passages, k))
