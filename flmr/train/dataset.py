"""The passages and questions of a run, joined by their judgments.

Knows judgments and positives, wherever the records came from (flmr.train.sources); opens each picture once
to learn whether it can be read.  Knows nothing of models but whether they look at passages' pictures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flmr.data import TaskSplit, read_qrels
from flmr.errors import InvalidInput, UnreadableImage
from flmr.evaluate import Run, read_run
from flmr.images import load_image
from flmr.progress import Report
from flmr.records import ImageSource, Passage, Query, Question
from flmr.train.pictures import Album, Picture, picture_key
from flmr.train.recipe import DataRecipe, EvaluateRecipe
from flmr.train.sources import LeftOut, Part, parts_of, read_parts

Needs = Literal["positive", "answer", "either"]


@dataclass(frozen=True)
class QuestionSet:
    """Questions with the passage rows that answer them and the picture rows of each, its regions after the whole.

    grades: of each question, the grade of every passage row that has one above 0; positive_ids give 1.
    pictures: the different pictures and parts of pictures, each readable.  groups: the value of `group_by` of each
    question, "" without it.
    """

    questions: tuple[Question, ...]
    positives: tuple[frozenset[int], ...]
    grades: tuple[Mapping[int, int], ...]
    pictures: tuple[Picture, ...]
    pictures_of: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: Sequence[int]) -> QuestionSet:
        """Some of the questions; the pictures stay as they are."""
        return QuestionSet(
            tuple(self.questions[i] for i in rows),
            tuple(self.positives[i] for i in rows),
            tuple(self.grades[i] for i in rows),
            self.pictures,
            tuple(self.pictures_of[i] for i in rows),
            tuple(self.groups[i] for i in rows),
        )


@dataclass(frozen=True)
class TrainingData:
    """All that a run learns from and is chosen by.

    num_training: passages behind these are candidates of validation only.  corpora: where validation questions have a
    corpus of their own, its rows by the task of the questions ("" outside a mixture).
    mined: for each training question the passage rows that the mined run ranks, best first, positives left out.
    teacher: for each training question the teacher's score of passage rows.
    pictures, pictures_of: of the passages, as those of questions; empty where the model does not look at them.
    """

    passages: tuple[Passage, ...]
    train: QuestionSet
    valid: QuestionSet | None
    left_out: LeftOut
    num_training: int
    corpora: Mapping[str, np.ndarray]
    mined: tuple[tuple[int, ...], ...] = ()
    teacher: tuple[Mapping[int, float], ...] = ()
    pictures: tuple[Picture, ...] = ()
    pictures_of: tuple[tuple[int, ...], ...] = ()

    @property
    def training_passages(self) -> tuple[Passage, ...]:
        """Those that negatives are drawn from."""
        return self.passages[: self.num_training]


def load_data(
    recipe: DataRecipe,
    evaluate: EvaluateRecipe,
    *,
    seed: int,
    tick: Report,
    by_answers: bool = False,
    passage_pictures: bool = False,
) -> TrainingData:
    """Read passages and questions.  Raises InvalidInput where nothing is left to train on; InvalidRecord if strict.

    by_answers: a question needs an answer in the place of a positive passage.  passage_pictures: the model looks at
    passages' pictures too; a passage whose picture cannot be read is left out, as an index leaves it out.
    """
    left_out = LeftOut()
    parts = parts_of(recipe)
    readable = _Readable(recipe.strict, left_out, tick)

    def usable(passage: Passage) -> bool:
        if not passage_pictures or passage.image is None or readable(passage.image):
            return True
        left_out.add("passages whose picture cannot be read", passage.id)
        return False

    read = read_parts(parts, recipe, left_out, usable, seed=seed, tick=tick)
    rows = {passage.id: row for row, passage in enumerate(read.passages)}
    needs: Needs = "answer" if by_answers else "positive"
    train = _load_questions(read.questions, recipe.qrels, recipe, rows, left_out, readable, needs)
    train = _with_groups(train, recipe.groups[0])
    if not len(train):
        raise InvalidInput(f"no question of {_names(part.questions for part in parts)} can be trained on: {left_out}")
    valid = None
    if recipe.validates:
        judged = recipe.valid_qrels or recipe.qrels
        needs = "either" if evaluate.takes_answers and not by_answers else needs
        valid = _with_groups(
            _load_questions(read.valid_questions, judged, recipe, rows, left_out, readable, needs), evaluate.by
        )
        if not len(valid):
            names = _names(part.valid_questions for part in parts)
            raise InvalidInput(f"no question of {names} can be validated with: {left_out}")
        if 0 < evaluate.questions < len(valid):
            rng = np.random.default_rng(seed)
            valid = valid.take(sorted(rng.choice(len(valid), evaluate.questions, replace=False).tolist()))
    mined = _load_mined(parts, read.mined, train, rows, left_out) if recipe.has_mined else ()
    teacher = _load_teacher(recipe, train, rows, left_out)
    album = Album()
    pictures_of = tuple(album.rows(passage.image) for passage in read.passages) if passage_pictures else ()
    return TrainingData(
        read.passages,
        train,
        valid,
        left_out,
        read.num_training,
        read.corpora,
        mined,
        teacher,
        tuple(album.pictures),
        pictures_of,
    )


def choose_candidates(data: TrainingData, limit: int, *, seed: int) -> np.ndarray:
    """Rows of the passages that validation ranks: all, or the positives and a seeded sample of others up to `limit`."""
    pool = np.unique(np.concatenate([*data.corpora.values()])) if data.corpora else np.arange(len(data.passages))
    if data.valid is None or not 0 < limit < len(pool):
        return pool
    positives = sorted(set().union(*data.valid.positives))
    others = np.setdiff1d(pool, positives)
    extra = np.random.default_rng(seed).permutation(others)[: max(0, limit - len(positives))]
    return np.sort(np.concatenate([np.array(positives, np.int64), extra]))


def _names(sources: Iterable[Path | TaskSplit | None]) -> str:
    return ", ".join(repr(str(source)) if isinstance(source, Path) else str(source) for source in sources if source)


def _load_questions(
    questions: Iterable[Question],
    qrels_path: Path | None,
    recipe: DataRecipe,
    rows: Mapping[str, int],
    left_out: LeftOut,
    readable: _Readable,
    needs: Needs,
) -> QuestionSet:
    judged = read_qrels(qrels_path) if qrels_path is not None else None
    album = Album()
    kept: list[tuple[Question, frozenset[int], Mapping[int, int], tuple[int, ...]]] = []
    for question in questions:
        judgments, lowest = dict.fromkeys(question.positive_ids, 1), 1
        if judged is not None:
            judgments, lowest = judged.get(question.id, {}), recipe.min_grade
        positives = frozenset(rows[i] for i, grade in judgments.items() if i in rows and grade >= lowest)
        lacking = _lacks(needs, bool(positives), any(answer.strip() for answer in question.answers))
        if lacking:
            left_out.add(f"questions without {lacking}", question.id)
            continue
        query = _used_parts(question.query, recipe)
        if query is None:
            left_out.add("questions of which no used part is left", question.id)
            continue
        if query.image is not None and not readable(query.image):
            left_out.add("questions whose picture cannot be read", question.id)
            continue
        grades = {rows[i]: grade for i, grade in judgments.items() if i in rows and grade > 0}
        seen = album.rows(query.image, query.regions)
        kept.append((dataclasses.replace(question, query=query), positives, grades, seen))
    loaded, positive_rows, grades_of, pictures_of = zip(*kept, strict=True) if kept else ((), (), (), ())
    return QuestionSet(loaded, positive_rows, grades_of, tuple(album.pictures), pictures_of, ("",) * len(kept))


def _lacks(needs: Needs, has_positive: bool, has_answer: bool) -> str:
    """What a question would need; "" where it has it."""
    positive, answer = "a known positive passage", "an answer"
    if needs == "positive":
        return "" if has_positive else positive
    if needs == "answer":
        return "" if has_answer else answer
    return "" if has_positive or has_answer else f"{positive} or {answer}"


class _Readable:
    """Which pictures can be read: each is opened once; one that cannot is counted, or raises if strict."""

    def __init__(self, strict: bool, left_out: LeftOut, tick: Report) -> None:
        self._strict, self._left_out, self._tick = strict, left_out, tick
        self._known: dict[Any, bool] = {}

    def __call__(self, source: ImageSource) -> bool:
        key = picture_key(source)
        if key not in self._known:
            self._known[key] = self._opens(source)
            self._tick("pictures", len(self._known), None)
        return self._known[key]

    def _opens(self, source: ImageSource) -> bool:
        try:
            load_image(source)
        except UnreadableImage as error:
            if self._strict:
                raise
            self._left_out.add("pictures", str(error))
            return False
        return True


def _load_mined(
    parts: Sequence[Part], run: Run, questions: QuestionSet, rows: Mapping[str, int], left_out: LeftOut
) -> tuple[tuple[int, ...], ...]:
    """The wrong passages of each question in its ranking; raises InvalidInput where the run ranks for none of them."""
    mined = []
    ranked = tuple(part.id_of("") for part in parts if part.mined is not None)
    for question, positives in zip(questions.questions, questions.positives, strict=True):
        known = [rows[passage] for passage, _ in run.get(question.id, ()) if passage in rows]
        mined.append(tuple(row for row in known if row not in positives))
        if not mined[-1] and question.id.startswith(ranked):
            left_out.add("questions without a mined negative", question.id)
    if not any(mined):
        paths = _names(part.mined for part in parts)
        raise InvalidInput(f"run {paths} ranks no known passage for any training question; mine with their ids")
    return tuple(mined)


def _load_teacher(
    recipe: DataRecipe, questions: QuestionSet, rows: Mapping[str, int], left_out: LeftOut
) -> tuple[Mapping[int, float], ...]:
    """The teacher's scores by passage row; raises InvalidInput where they are no numbers or for no known passage."""
    if recipe.teacher is not None:
        where = f"teacher {str(recipe.teacher)!r}"
        run = read_run(recipe.teacher)
        scores = [dict(run.get(question.id, ())) for question in questions.questions]
    elif recipe.teacher_column:
        where = f"column {recipe.teacher_column!r}"
        scores = [_scores_of(question, recipe.teacher_column) for question in questions.questions]
    else:
        return ()
    teacher = tuple({rows[i]: score for i, score in given.items() if i in rows} for given in scores)
    for question, known in zip(questions.questions, teacher, strict=True):
        if len(known) < 2:
            left_out.add("questions of which the teacher scored fewer than two known passages", question.id)
    if not any(len(known) > 1 for known in teacher):
        raise InvalidInput(f"{where} scores two known passages for no training question; use their ids")
    return teacher


def _scores_of(question: Question, column: str) -> dict[str, float]:
    given = question.meta.get(column) or {}
    if isinstance(given, Mapping):
        scores = {passage: score for passage, score in given.items() if score is not None}  # a gap of a Parquet struct
        if all(isinstance(score, int | float) and math.isfinite(score) for score in scores.values()):
            return scores
    raise InvalidInput(f"question {question.id!r}: {column!r} must be an object of passage ids and finite scores")


def _used_parts(query: Query, recipe: DataRecipe) -> Query | None:
    """The query with the parts that the recipe uses; None where neither text nor picture is left."""
    text = query.text if recipe.use_text else ""
    image = query.image if recipe.use_images else None
    if not text.strip() and image is None:
        return None
    instruction = query.instruction if recipe.use_instructions else ""
    return Query(text, image, instruction, query.id, query.regions if image is not None else ())


def _with_groups(questions: QuestionSet, key: str) -> QuestionSet:
    if not key:
        return questions
    for question in questions.questions:
        if key not in question.meta:
            raise InvalidInput(
                f"question {question.id!r} has no metadata {key!r}, by which the recipe groups questions"
            )
    return dataclasses.replace(questions, groups=tuple(str(q.meta[key]) for q in questions.questions))
