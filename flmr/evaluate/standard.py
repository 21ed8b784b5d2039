"""Measures that ir-measures computes, question by question.

Knows how to hand a run and judgments over so that the order of the run counts.  Knows no measure itself.
"""

from __future__ import annotations

from typing import Any

from flmr.evaluate.relevance import Qrels, positives_of
from flmr.evaluate.run import Run


def per_question(measure: Any, run: Run, qrels: Qrels) -> dict[str, float]:
    """The value for each question that has a positive; 0 where it has no ranking.

    measure: an ir-measures measure.  trec_eval, beneath, sorts by score and breaks ties by id; scores that fall with
    the rank are handed over instead of the run's, so that its own order counts.  Grades below 0 become 0.
    """
    import ir_measures

    positives = positives_of(qrels)
    graded = {q: {p: max(grade, 0) for p, grade in qrels[q].items()} for q in positives}
    ranked = {q: {p: float(-i) for i, (p, _) in enumerate(run[q])} for q in positives if run.get(q)}
    values = dict.fromkeys(positives, 0.0)
    if ranked:
        values |= {m.query_id: float(m.value) for m in ir_measures.iter_calc([measure], graded, ranked)}
    return values
