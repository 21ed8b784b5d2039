"""Which questions and passages make the batch of a step.

Knows rows of questions and passages and their metadata; knows no text, no image and no model.  Every batch is a pure
function of (seed, step): a run that resumes at step n draws what an uninterrupted run would have drawn, and there is no
position to store.

Shapes: B questions of a batch, N different passages of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from flmr.errors import InvalidInput
from flmr.records import Passage
from flmr.train.recipe import Negatives

# An attempt to draw a negative may hit a positive; after so many a question goes without, which only happens where
# nearly all passages that the recipe allows are its positives.
ATTEMPTS = 20


@dataclass(frozen=True)
class Batch:
    """One step's questions and passages.

    question_rows: (B,).  passage_rows: (N,), each passage once.  labels: (B,) the column of each question's positive.
    masked: (B, N), true where a column is another positive of that question: it is neither right nor wrong there.
    grades: (B, N) int64, 0 where nothing is known.  taught: (B, N), true where a teacher gave the score in `teacher`,
    (B, N) float32.  asked: (B, 2), whether a question's words, and its picture, make rows; None: whatever it has.
    """

    question_rows: np.ndarray
    passage_rows: np.ndarray
    labels: np.ndarray
    masked: np.ndarray
    grades: np.ndarray
    taught: np.ndarray
    teacher: np.ndarray
    asked: np.ndarray | None = None


class QuestionSampler:
    """Deals the questions of each step: shuffled epochs, each batch from one group.

    groups: the group of each question row.  weights: draws of a question per epoch, by group (default 1).
    """

    def __init__(self, groups: Sequence[str], *, batch_size: int, seed: int, weights: Mapping[str, float]) -> None:
        unknown = sorted(set(weights) - set(groups))
        if unknown:
            raise InvalidInput(f"weights name groups that no question has: {', '.join(unknown)}")
        rows_of: dict[str, list[int]] = {}
        for row, group in enumerate(groups):
            rows_of.setdefault(group, []).append(row)
        self._rows_of = {g: np.array(rows) for g, rows in sorted(rows_of.items()) if weights.get(g, 1.0) > 0}
        self._draws = {g: max(1, round(len(rows) * weights.get(g, 1.0))) for g, rows in self._rows_of.items()}
        if not self._rows_of:
            raise InvalidInput("no question is left to train on: every group has weight 0")
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._deal)

    @property
    def batches_per_epoch(self) -> int:
        """Steps that one pass over the questions takes; a group's last incomplete batch is dropped."""
        return sum(max(1, draws // self._batch_size) for draws in self._draws.values())

    def rows(self, step: int) -> np.ndarray:
        """The question rows of a step, counted from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[position]

    def _deal(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        batches = []
        for group, rows in self._rows_of.items():
            draws = self._draws[group]
            turns = [rng.permutation(rows) for _ in range(-(-draws // len(rows)))]
            dealt = np.concatenate(turns)[:draws]
            size = self._batch_size
            batches += [dealt[i * size : (i + 1) * size] for i in range(max(1, draws // size))]
        return [batches[i] for i in rng.permutation(len(batches))]


class NegativeSampler:
    """Draws the passages that one `Negatives` of the recipe asks for."""

    def __init__(self, passages: Sequence[Passage], spec: Negatives) -> None:
        self._count = spec.count
        self._same = [_key(passage, spec.same) for passage in passages]
        self._differ = [_key(passage, spec.differ) for passage in passages] if spec.differ else None
        rows_of: dict[tuple[str, ...], list[int]] = {}
        for row, key in enumerate(self._same):
            rows_of.setdefault(key, []).append(row)
        self._rows_of = {key: np.array(rows) for key, rows in rows_of.items()}

    def draw(self, positive: int, positives: frozenset[int], rng: np.random.Generator) -> list[int]:
        """Up to `count` rows for a question whose positive of this step is `positive`, none of them in `positives`."""
        pool = self._rows_of[self._same[positive]]
        drawn: list[int] = []
        for row in pool[rng.integers(len(pool), size=self._count * ATTEMPTS)]:
            if len(drawn) == self._count:
                break
            same_thing = self._differ is not None and self._differ[row] == self._differ[positive]
            if row not in positives and not same_thing and row not in drawn:
                drawn.append(int(row))
        return drawn


class ListSampler:
    """Draws from a list that each question has of its own: mined negatives, what is graded, what a teacher scored.

    lists: passage rows of every question, best first.  ranks: how many of the first take part; None means all.
    """

    def __init__(self, lists: Sequence[Sequence[int]], count: int, ranks: int | None = None) -> None:
        self._lists, self._count, self._ranks = lists, count, ranks

    def draw(self, question: int, rng: np.random.Generator) -> list[int]:
        """`count` different rows, fewer where there are fewer."""
        pool = self._lists[question][: self._ranks]
        return [pool[i] for i in rng.permutation(len(pool))[: self._count]]


def make_batch(
    question_rows: np.ndarray,
    positives: Sequence[frozenset[int]],
    negatives: Sequence[NegativeSampler],
    rng: np.random.Generator,
    lists: Sequence[ListSampler] = (),
    *,
    grades: Sequence[Mapping[int, int]] = (),
    teacher: Sequence[Mapping[int, float]] = (),
) -> Batch:
    """Choose a positive for each question, add negatives and what lists give, merge duplicates, mask other positives.

    positives, grades, teacher: of every question row of the data set, by passage row.
    """
    chosen = [_choose(positives[row], rng) for row in question_rows]
    columns: dict[int, int] = {}
    for row in chosen:
        columns.setdefault(row, len(columns))
    for question, positive in zip(question_rows, chosen, strict=True):
        for sampler in negatives:
            for row in sampler.draw(positive, positives[question], rng):
                columns.setdefault(row, len(columns))
        for own in lists:
            for row in own.draw(int(question), rng):
                columns.setdefault(row, len(columns))
    labels = np.array([columns[row] for row in chosen])
    masked = np.zeros((len(question_rows), len(columns)), bool)
    for i, question in enumerate(question_rows):
        masked[i, [columns[row] for row in positives[question] if row in columns]] = True
    masked[np.arange(len(labels)), labels] = False
    graded, _ = _in_columns(grades, question_rows, columns, np.int64)
    scores, taught = _in_columns(teacher, question_rows, columns, np.float32)
    return Batch(question_rows, np.fromiter(columns, np.int64, len(columns)), labels, masked, graded, taught, scores)


def _in_columns(
    values: Sequence[Mapping[int, Any]], question_rows: np.ndarray, columns: Mapping[int, int], dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each question and passage of the batch, and where: two (B, N)."""
    found = np.zeros((len(question_rows), len(columns)), dtype)
    known = np.zeros(found.shape, bool)
    for i, question in enumerate(question_rows if values else ()):
        for row, value in values[question].items():
            if row in columns:
                found[i, columns[row]], known[i, columns[row]] = value, True
    return found, known


def _choose(rows: frozenset[int], rng: np.random.Generator) -> int:
    ordered = sorted(rows)  # a set's own order may differ from one process to the next
    return ordered[int(rng.integers(len(ordered)))]


def _key(passage: Passage, names: Sequence[str]) -> tuple[str, ...]:
    values = []
    for name in names:
        value = passage.title if name == "title" else passage.meta.get(name)
        if value is None:
            raise InvalidInput(f"passage {passage.id!r} has no metadata {name!r}, which the recipe's negatives name")
        values.append(str(value))
    return tuple(values)
