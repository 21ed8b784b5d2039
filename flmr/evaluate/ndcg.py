"""nDCG@K: how near is the order of the first K to the ideal one, with graded judgments?

Knows ids and grades.  Knows no text.
"""

from __future__ import annotations

from flmr.evaluate.chance import ndcg_chance as chance_of
from flmr.evaluate.relevance import Qrels, positives_of
from flmr.evaluate.run import Run
from flmr.evaluate.standard import per_question


def ndcg(run: Run, qrels: Qrels, k: int) -> dict[str, float]:
    """Discounted gain of the first k over the largest possible, gain = grade, discount = log2(rank + 1).

    nDCG@k of ir-measures and trec_eval (Jarvelin and Kekalainen, TOIS 2002, with linear gains).
    """
    import ir_measures

    return per_question(ir_measures.nDCG @ k, run, qrels)


def ndcg_chance(qrels: Qrels, k: int, num_passages: int) -> float:
    """What a random order of all passages reaches, on average over the questions."""
    grades = [list(judged.values()) for judged in positives_of(qrels).values()]
    return sum(chance_of(g, num_passages, k) for g in grades) / len(grades) if grades else 0.0
