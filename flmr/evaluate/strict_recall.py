"""Strict recall@K: is any positive passage among the first K?

Knows ids.  Knows no text.
"""

from __future__ import annotations

from flmr.evaluate.chance import hit_chance
from flmr.evaluate.relevance import Qrels, mean_over_questions, positives_of
from flmr.evaluate.run import Run


def strict_recall(run: Run, qrels: Qrels, k: int) -> dict[str, float]:
    """1 if any positive is among the first k, else 0, for each question with a positive; no ranking counts as a miss.

    This is the hit rate that the FLMR and PreFLMR papers call Recall@K (Lin et al., NeurIPS 2023 and ACL 2024); with
    several positives a question it is larger than the share of them that is found, which is `set_recall`.
    """
    return {
        question: float(any(passage in judged for passage, _ in run.get(question, ())[:k]))
        for question, judged in positives_of(qrels).items()
    }


def strict_recall_chance(qrels: Qrels, k: int, num_passages: int) -> float:
    """What a random order of all passages reaches, on average over the questions."""
    return mean_over_questions(qrels, lambda count: hit_chance(count, num_passages, k))
