"""All measures of one run, each with its chance level and the number of questions behind it.

Knows which measures are reported and what is counted.  Knows no index and no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flmr.errors import InvalidInput
from flmr.evaluate.interval import wilson_interval
from flmr.evaluate.ndcg import ndcg, ndcg_chance
from flmr.evaluate.pseudo_recall import (
    Answers,
    PassageText,
    pseudo_recall,
    pseudo_recall_chance,
    usable_answers,
)
from flmr.evaluate.reciprocal_rank import reciprocal_rank, reciprocal_rank_chance
from flmr.evaluate.relevance import Qrels, positives_of
from flmr.evaluate.run import Run, check_run
from flmr.evaluate.set_recall import set_recall, set_recall_chance
from flmr.evaluate.strict_recall import strict_recall, strict_recall_chance

# The customary depth of MRR and nDCG (MS MARCO, BEIR), whatever the ks of the recalls.
DEPTH = 10


@dataclass(frozen=True)
class MeasureRow:
    """One measure: its mean over num_queries questions, the chance level, and for hit rates the 95% interval."""

    measure: str
    value: float
    chance: float | None
    num_queries: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Report:
    """The measures of one run, and what they were measured on.

    num_queries: questions with a positive or an answer.  num_without_positives: questions, judged or only in the run,
    without a positive; strict measures leave them out.  num_missing: of the num_queries, those without a hit in the
    run; each counts as a miss.  num_passages: the corpus that the chance level assumes.
    """

    rows: tuple[MeasureRow, ...]
    num_queries: int
    num_without_positives: int
    num_missing: int
    num_passages: int | None
    notes: tuple[str, ...] = ()

    def value(self, measure: str) -> float:
        """The value of one measure; raises InvalidInput naming those there are."""
        for row in self.rows:
            if row.measure == measure:
                return row.value
        raise InvalidInput(f"{measure!r} was not measured; there are {', '.join(row.measure for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows], "notes": list(self.notes)}

    def to_json(self) -> str:
        """All of it as one JSON document."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def table(self) -> str:
        """All of it as aligned text."""
        lines = [f"{'measure':<20}{'value':>8}{'95% interval':>16}{'chance':>10}{'queries':>10}"]
        for row in self.rows:
            interval = "" if row.low is None else f"{row.low:.3f} - {row.high:.3f}"
            chance = "unknown" if row.chance is None else f"{row.chance:.4f}"
            lines.append(f"{row.measure:<20}{row.value:>8.4f}{interval:>16}{chance:>10}{row.num_queries:>10,}")
        corpus = "" if self.num_passages is None else f" over {self.num_passages:,} passages"
        lines.append(
            f"{self.num_queries:,} queries{corpus}; {self.num_missing:,} without a hit (counted as misses);"
            f" {self.num_without_positives:,} without a positive passage (not in the strict measures)"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def evaluate_run(
    run: Run,
    qrels: Qrels,
    *,
    ks: Sequence[int] = (5, 10, 100),
    answers: Answers | None = None,
    passage_text: PassageText | None = None,
    num_passages: int | None = None,
) -> Report:
    """Strict recall, set recall and, where answers are given, pseudo recall at each k; MRR@10 and nDCG@10.

    run: `{question: [(passage, score), ...]}`, best first.  qrels: `{question: {passage: grade}}`, positive above 0.
    answers: the strings that answer each question; then passage_text gives the text of each passage, as a mapping or a
    function.  num_passages: the size of the corpus; without it the chance levels are unknown.  That of pseudo recall
    also needs a mapping of all num_passages texts.
    Raises InvalidInput where nothing can be measured or the arguments disagree.
    """
    check_run(run)
    ks = _checked(ks)
    if answers is not None and passage_text is None:
        raise InvalidInput("answers are looked for in the passages: give passage_text as well")
    positives, wanted = positives_of(qrels), usable_answers(answers or {})
    measured = positives.keys() | wanted.keys()
    _check_overlap(run, measured)
    rows = _strict_rows(run, qrels, ks, num_passages) if positives else []
    notes = _depth_notes(run, ks, num_passages)
    if wanted and passage_text is not None:
        pseudo_rows, pseudo_notes = _pseudo_rows(run, wanted, passage_text, ks, num_passages)
        rows[len(ks) : len(ks)] = pseudo_rows  # beside the strict ones: papers quote one or the other
        notes += pseudo_notes
    return Report(
        rows=tuple(rows),
        num_queries=len(measured),
        num_without_positives=len((run.keys() | qrels.keys() | wanted.keys()) - positives.keys()),
        num_missing=sum(not run.get(question) for question in measured),
        num_passages=num_passages,
        notes=tuple(notes),
    )


def _strict_rows(run: Run, qrels: Qrels, ks: Sequence[int], num_passages: int | None) -> list[MeasureRow]:
    families = [
        ("strict_recall", strict_recall, strict_recall_chance, ks),
        ("set_recall", set_recall, set_recall_chance, ks),
        ("MRR", reciprocal_rank, reciprocal_rank_chance, (DEPTH,)),
        ("nDCG", ndcg, ndcg_chance, (DEPTH,)),
    ]
    return [
        _row(
            f"{name}@{k}",
            measure(run, qrels, k),
            None if num_passages is None else chance(qrels, k, num_passages),
            is_rate=measure is strict_recall,
        )
        for name, measure, chance, depths in families
        for k in depths
    ]


def _pseudo_rows(
    run: Run, answers: Answers, passage_text: PassageText, ks: Sequence[int], num_passages: int | None
) -> tuple[list[MeasureRow], list[str]]:
    levels: list[float | None] = [None for _ in ks]
    notes = []
    if isinstance(passage_text, Mapping) and len(passage_text) == num_passages:
        found, num_searched = pseudo_recall_chance(answers, passage_text, ks)
        levels = [*found]
        if num_searched < num_passages:
            notes.append(f"the chance level of pseudo recall is estimated on {num_searched:,} random passages")
    rows = [
        _row(f"pseudo_recall@{k}", pseudo_recall(run, answers, passage_text, k), chance, is_rate=True)
        for k, chance in zip(ks, levels, strict=True)
    ]
    return rows, notes


def _row(name: str, values: Mapping[str, float], chance: float | None, *, is_rate: bool) -> MeasureRow:
    low, high = wilson_interval(round(sum(values.values())), len(values)) if is_rate else (None, None)
    return MeasureRow(name, sum(values.values()) / len(values), chance, len(values), low, high)


def _checked(ks: Sequence[int]) -> list[int]:
    if not ks or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in ks):
        raise InvalidInput(f"ks must be whole numbers of at least 1, not {list(ks)}")
    return sorted(set(ks))


def _check_overlap(run: Run, measured: set[str]) -> None:
    if not measured:
        raise InvalidInput("nothing to measure: no question has a positive passage or an answer")
    if not measured & run.keys():
        example = f"such as {next(iter(run))!r}" if run else "it is empty"
        raise InvalidInput(
            f"no question of the run ({example}) has a positive passage or an answer (such as {min(measured)!r}); "
            "do the ids belong to the same questions?"
        )


def _depth_notes(run: Run, ks: Sequence[int], num_passages: int | None) -> list[str]:
    """Rankings cut short of k make the measure at k the one at their depth; whoever reads it should know."""
    depth = max(map(len, run.values()))
    if depth >= max(ks) or depth == num_passages:
        return []
    short = ", ".join(str(k) for k in ks if k > depth)
    return [f"no ranking holds more than {depth} passages: measures at {short} look no further"]
