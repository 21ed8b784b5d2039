"""Where the passages and questions of a run come from: two files, a published task, or a mixture of tasks.

Knows the recipe's [data] table and the readers of flmr.data; counts what is left out.  Opens no picture and
joins nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from flmr.data import ReadReport, TaskSplit, find_task, read_passages, read_questions
from flmr.data.questions import matches
from flmr.evaluate import Run, read_run
from flmr.evaluate.pseudo_recall import usable_answers
from flmr.evaluate.run import Ranking
from flmr.progress import Report
from flmr.records import Passage, Question
from flmr.train.recipe import DataRecipe

R = TypeVar("R", Passage, Question)


@dataclass(frozen=True)
class LeftOut:
    """What the files hold but the run does not use, by reason, with the first few instances of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, instance: str, count: int = 1) -> None:
        """Count one more, or several; the first three of a reason are kept."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        if len(self.examples.setdefault(reason, [])) < 3:
            self.examples[reason].append(instance)

    def __str__(self) -> str:
        parts = [f"{count:,} {reason} ({self.examples[reason][0]})" for reason, count in self.counts.items()]
        return "; ".join(parts) or "nothing left out"


@dataclass(frozen=True)
class Part:
    """One source of a run.

    task: of a mixture, whose ids and metadata it goes into; "" where there is one source only.  valid_passages: None
    where validation ranks the training passages.  max_questions, max_passages: 0 means all.
    """

    task: str
    passages: Path | TaskSplit
    questions: Path | TaskSplit
    valid_passages: TaskSplit | None = None
    valid_questions: Path | TaskSplit | None = None
    mined: Path | None = None
    max_questions: int = 0
    max_passages: int = 0

    def id_of(self, own: str) -> str:
        """What a record is called in the run."""
        return f"{self.task}/{own}" if self.task else own


def parts_of(recipe: DataRecipe) -> tuple[Part, ...]:
    """The sources that a recipe names."""
    if not recipe.shares:
        assert recipe.passages is not None and recipe.questions is not None
        return (Part("", recipe.passages, recipe.questions, None, recipe.valid_questions, recipe.mined),)
    parts = []
    for share in recipe.shares:
        task, root = find_task(share.task), share.root or recipe.root
        assert root is not None
        split = TaskSplit(task, root, recipe.split, share.images)
        valid = TaskSplit(task, root, recipe.valid_split, share.images) if recipe.valid_split in task.splits else None
        name = share.task if recipe.mixture else ""
        parts.append(Part(name, split, split, valid, valid, share.mined, share.max_questions, share.max_passages))
    return tuple(parts)


@dataclass(frozen=True)
class Read:
    """Records of all parts under the ids that they have in the run.

    num_training: the passages behind these are candidates of validation only.  corpora: for each part with validation
    questions of its own corpus, the rows of the passages that they are ranked among.
    """

    passages: tuple[Passage, ...]
    num_training: int
    questions: tuple[Question, ...]
    valid_questions: tuple[Question, ...]
    corpora: dict[str, np.ndarray]
    mined: Run


def read_parts(
    parts: Sequence[Part],
    recipe: DataRecipe,
    left_out: LeftOut,
    usable: Callable[[Passage], bool],
    *,
    seed: int,
    tick: Report,
) -> Read:
    """Read everything but the passages that are not usable; raises what the readers raise."""
    rng = np.random.default_rng([seed, 7])
    passages: list[Passage] = []
    questions: list[Question] = []
    mined: dict[str, Ranking] = {}
    for part in parts:
        own = _read(read_questions, part.questions, part, recipe, left_out, tick)
        own = (question for question in own if matches(question, recipe.where))
        chosen = _sample(own, part.max_questions, rng, (), left_out, f"questions of {part.task}")
        ranked = _ranked(part)
        needed = {passage for hits in ranked.values() for passage, _ in hits}
        needed |= {positive for question in chosen for positive in question.positive_ids}
        texts = _read(read_passages, part.passages, part, recipe, left_out, tick)
        sample = _sample(texts, part.max_passages, rng, needed, left_out, f"passages of {part.task}")
        kept = [passage for passage in sample if usable(passage)]
        if recipe.mined_answers != "negative":
            chosen, ranked = _answering(chosen, ranked, kept, recipe.mined_answers, left_out)
        passages += kept
        questions += chosen
        mined |= ranked
    num_training = len(passages)
    rows = {passage.id: row for row, passage in enumerate(passages)}
    asked: list[Question] = []
    corpora: dict[str, np.ndarray] = {}
    for part in parts:
        if part.valid_questions is not None:
            own = _read(read_questions, part.valid_questions, part, recipe, left_out, tick)
            asked += (question for question in own if matches(question, recipe.valid_where))
        if part.valid_passages is not None:
            corpus = []
            for passage in _read(read_passages, part.valid_passages, part, recipe, left_out, tick):
                if passage.id not in rows and usable(passage):
                    rows[passage.id] = len(passages)
                    passages.append(passage)
                if passage.id in rows:
                    corpus.append(rows[passage.id])
            corpora[part.task] = np.array(sorted(corpus))
    return Read(tuple(passages), num_training, tuple(questions), tuple(asked), corpora, mined)


def _ranked(part: Part) -> dict[str, Ranking]:
    """The part's mined run under the ids of the run."""
    if part.mined is None:
        return {}
    return {part.id_of(q): [(part.id_of(p), score) for p, score in hits] for q, hits in read_run(part.mined).items()}


def _answering(
    questions: list[Question], ranked: dict[str, Ranking], passages: list[Passage], use: str, left_out: LeftOut
) -> tuple[list[Question], dict[str, Ranking]]:
    """Questions and their rankings, where unjudged passages that hold an answer have become positives or are gone.

    An answer is looked for as pseudo recall does (Luo et al., EMNLP 2021).
    """
    known = {passage for hits in ranked.values() for passage, _ in hits}
    texts = {passage.id: passage.full_text.lower() for passage in passages if passage.id in known}
    wanted = usable_answers({question.id: question.answers for question in questions})
    changed = []
    for question in questions:
        hits, answers = ranked.get(question.id, ()), wanted.get(question.id, ())
        holding = {p for p, _ in hits if any(answer in texts.get(p, "") for answer in answers)}
        holding -= set(question.positive_ids)
        if use == "positive":
            found = tuple(passage for passage, _ in hits if passage in holding)
            question = dataclasses.replace(question, positive_ids=(*question.positive_ids, *found))
        elif holding:
            ranked[question.id] = [hit for hit in hits if hit[0] not in holding]
            left_out.add("mined passages that hold an answer", question.id, len(holding))
        changed.append(question)
    return changed, ranked


def _read(
    reader: Callable[..., Iterator[R]],
    source: Path | TaskSplit,
    part: Part,
    recipe: DataRecipe,
    left_out: LeftOut,
    tick: Report,
) -> Iterator[R]:
    report = ReadReport()
    name = source.name if isinstance(source, Path) else str(source)
    images = recipe.images if isinstance(source, Path) else None
    for count, record in enumerate(reader(source, strict=recipe.strict, report=report, image_folder=images), start=1):
        if count % 1000 == 0:
            tick(f"reading {name}", count, None)
        yield _in_run(record, part)
    for skipped in report.skipped:
        left_out.add(f"lines of {name}", str(skipped))


def _in_run(record: R, part: Part) -> R:
    """The record with its id in the run, and in a mixture with its task as metadata."""
    if not part.task:
        return record
    changed: dict[str, Any] = {"meta": {**record.meta, "task": part.task}}
    if isinstance(record, Question):
        changed["query"] = dataclasses.replace(record.query, id=part.id_of(record.id))
        changed["positive_ids"] = tuple(map(part.id_of, record.positive_ids))
    else:
        changed["id"] = part.id_of(record.id)
    return dataclasses.replace(record, **changed)


def _sample(
    records: Iterable[R],
    limit: int,
    rng: np.random.Generator,
    needed: Container[str],
    left_out: LeftOut,
    what: str,
) -> list[R]:
    """Those of needed ids and a random choice of the others, `limit` in all, in order; no more are held in memory.

    One pass, each record kept with the same probability (reservoir sampling, Vitter 1985).
    """
    if not limit:
        return list(records)
    kept: list[tuple[int, R]] = []
    others: list[tuple[int, R]] = []
    seen = 0
    for place, record in enumerate(records):
        if record.id in needed:
            kept.append((place, record))
            continue
        seen += 1
        if len(others) < limit:
            others.append((place, record))
        elif (slot := int(rng.integers(seen))) < limit:
            others[slot] = (place, record)
    room = max(0, limit - len(kept))
    kept += [others[i] for i in rng.permutation(len(others))[:room]]
    dropped = len(others[room:]) + seen - len(others)
    if dropped > 0:
        left_out.add(f"{what} beyond the sample", f"{limit:,} kept", dropped)
    return [record for _, record in sorted(kept, key=lambda pair: pair[0])]
