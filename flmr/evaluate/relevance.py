"""Which passages are positive: those with a grade above 0.

Knows judgments.  Knows no run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]


def positives_of(qrels: Qrels) -> dict[str, dict[str, int]]:
    """The positive passages and grades of each question that has any."""
    positives = {q: {p: grade for p, grade in judged.items() if grade > 0} for q, judged in qrels.items()}
    return {question: judged for question, judged in positives.items() if judged}


def mean_over_questions(qrels: Qrels, expected: Callable[[int], float]) -> float:
    """Mean of a function of the number of positives, over the questions that have any; 0 where none has."""
    values: dict[int, float] = {}
    counts = [len(judged) for judged in positives_of(qrels).values()]
    for count in counts:
        if count not in values:
            values[count] = expected(count)
    return sum(values[count] for count in counts) / len(counts) if counts else 0.0
