"""Measuring a retriever: questions in, measures beside their chance level out.

Knows question sets, controls (pictures or words left out) and the recall of a search against the exact one.  Knows no
formula of a measure and no model.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flmr.build import IndexRecipe, QuestionSet
from flmr.data import Qrels, ReadReport, Task, TaskSplit, find_task, qrels_of, read_qrels, read_questions
from flmr.data.questions import matches
from flmr.errors import InvalidInput, StorageError
from flmr.evaluate import Report, Run, evaluate_run, write_result, write_run
from flmr.evaluate.result import find_commit
from flmr.hybrid import Hybrid
from flmr.index import SearchParams
from flmr.recipe import load_recipe
from flmr.records import Query, Question
from flmr.retriever import Progress, Retriever, record_of

AGAINST_EXACT_KS = (10, 100)
MAX_TEXTS_IN_MEMORY = 200_000


@dataclass(frozen=True)
class Options:
    """How questions are asked.

    drop_image and drop_text are controls: what is left must not be enough to answer.  drop_instruction is for encoders
    that were trained without.
    """

    params: SearchParams = field(default_factory=SearchParams)
    drop_image: bool = False
    drop_text: bool = False
    drop_instruction: bool = False
    against_exact: bool = False
    strict: bool = False
    hybrid: Hybrid | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured on one question set: all questions together, and by group where asked.

    unreadable: query id -> why its picture could not be read; such a question counts as a miss.
    against_exact: share of the exact search's best k that the search found, per k.
    """

    name: str
    report: Report
    groups: Mapping[str, Report]
    run: Run
    lines: ReadReport
    unreadable: Mapping[str, str]
    against_exact: Mapping[str, float]
    encode_s: float
    search_s: float
    labels: Mapping[str, str | int | float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """All of it but the run, as JSON."""
        return {
            "report": self.report.to_dict(),
            "groups": {value: report.to_dict() for value, report in self.groups.items()},
            "skipped_lines": [str(line) for line in self.lines.skipped],
            "unreadable_images": dict(self.unreadable),
            "against_exact": dict(self.against_exact),
            "encode_s": round(self.encode_s, 3),
            "search_s": round(self.search_s, 3),
            **self.labels,
        }


def question_sets(
    queries: Path | None, qrels: Path | None, recipe: Path | None, **settings: Any
) -> dict[str, QuestionSet]:
    """The sets to measure by name: one from files or a task, or all of a recipe.

    Raises InvalidInput where there is none, or where they contradict each other.
    """
    task, root, split = settings.get("task"), settings.get("root"), settings.get("split")
    if recipe is not None:
        if queries is not None or qrels is not None or task or root or split:
            raise InvalidInput("give a recipe or questions of your own (--queries, --qrels, --task, --data), not both")
        sets = load_recipe(recipe, IndexRecipe).question_sets
        if not sets:
            raise InvalidInput(f"recipe {str(recipe)!r} has no [evaluate.NAME] table and no task to measure")
        return sets
    if queries is None and not task:
        raise InvalidInput("give --queries FILE, or --recipe RECIPE.toml with [evaluate.NAME] tables, or --task NAME")
    if (root or split) and (queries is not None or not task):
        raise InvalidInput(
            "--data and --split tell where the questions of a --task lie; leave them out beside --queries"
        )
    name = queries.stem if queries is not None else str(task)
    return {name: QuestionSet(queries, qrels, **settings)}


def measure(
    retriever: Retriever, name: str, questions: QuestionSet, options: Options, *, progress: Progress = False
) -> Measured:
    """Ask every question of a set that has a judgment and measure the ranking.

    Without a file of judgments, a question that only states an answer is asked too, for pseudo recall.
    Raises InvalidInput where no question has one, and what the readers and the search raise.
    """
    lines, source = ReadReport(), questions.source
    read = list(read_questions(source, strict=options.strict, report=lines, image_folder=questions.images))
    if questions.task:
        read = [_as_of_task(question, find_task(questions.task)) for question in read]
    qrels = read_qrels(questions.qrels, strict=options.strict) if questions.qrels else qrels_of(read)
    read = [question for question in read if matches(question, questions.where)]
    asked = [
        question
        for question in read
        if any(grade > 0 for grade in qrels.get(question.id, {}).values())
        or (questions.qrels is None and any(answer.strip() for answer in question.answers))
    ]
    if not asked:
        raise InvalidInput(
            f"none of the {len(read):,} questions{' chosen' if questions.where else ''} of {source} has a"
            " judgment or an answer; give positive_ids or --qrels"
        )
    measured = measure_questions(
        retriever, name, asked, qrels, options, ks=questions.cutoffs, by=questions.by, lines=lines, progress=progress
    )
    labels = {**measured.labels, **_task_labels(source, questions.task)}
    return replace(measured, report=_with_what_is_missing(measured.report), labels=labels)


def _with_what_is_missing(report: Report) -> Report:
    """The report, saying so where strict or pseudo recall stands alone: papers quote one or the other."""
    kinds = {row.measure.partition("@")[0] for row in report.rows}
    notes = {
        "strict_recall": "strict recall is not measured: no question has a positive passage",
        "pseudo_recall": "pseudo recall is not measured: no question states an answer",
    }
    return replace(report, notes=(*report.notes, *(note for kind, note in notes.items() if kind not in kinds)))


def _check_pictures(queries: Sequence[Query], unreadable: Mapping[str, str]) -> None:
    """Raise InvalidInput where no picture of several could be read: then their folder is wrong, not the search."""
    pictured = [query.id for query in queries if query.image is not None]
    if len(pictured) > 1 and len(unreadable) == len(pictured):
        raise InvalidInput(
            f"none of the {len(pictured):,} pictures can be read ({unreadable[pictured[0]]}); --images says where their"
            " paths start"
        )


def _as_of_task(question: Question, task: Task) -> Question:
    """The question with an instruction of the task where it brings none."""
    query = question.query
    return replace(question, query=replace(query, instruction=query.instruction or task.instruction(question.id)))


def _task_labels(source: Path | TaskSplit, task: str) -> dict[str, str]:
    if not task:
        return {}
    split = {"split": source.split} if isinstance(source, TaskSplit) else {}
    return {"task": task, **split, "published_measure": find_task(task).measure}


def measure_questions(
    retriever: Retriever,
    name: str,
    asked: Sequence[Question],
    qrels: Qrels,
    options: Options,
    *,
    ks: Sequence[int],
    by: str | None = None,
    lines: ReadReport | None = None,
    progress: Progress = False,
) -> Measured:
    """The same for questions at hand."""
    depth = max(max(ks), max(AGAINST_EXACT_KS) if options.against_exact else 0)
    queries = [_control(question.query, options) for question in asked]
    asking: dict[str, Any] = {"hybrid": options.hybrid, "progress": progress}
    found = retriever.search_many(queries, depth, params=options.params, strict=options.strict, **asking)
    _check_pictures(queries, found.unreadable)
    agreements: dict[str, float] = {}
    if options.against_exact:
        exactly = SearchParams(exact=True)
        exact = retriever.search_many(queries, depth, params=exactly, stage="exact search", **asking)
        agreements = {f"recall@{k}": agreement(found.run, exact.run, k) for k in AGAINST_EXACT_KS}
    answers = {question.id: question.answers for question in asked if question.answers}
    texts = _passage_texts(retriever) if answers else None

    def report(some: Iterable[Question]) -> Report:
        chosen = list(some)
        return evaluate_run(
            {question.id: found.run[question.id] for question in chosen},
            {question.id: qrels.get(question.id, {}) for question in chosen},
            ks=tuple(ks),
            answers={question.id: answers.get(question.id, ()) for question in chosen} if answers else None,
            passage_text=texts,
            num_passages=len(retriever.index),
        )

    groups = {}
    if by is not None:
        for value in sorted({_group(question, by) for question in asked}):
            groups[value] = report(question for question in asked if _group(question, by) == value)
    return Measured(
        name,
        report(asked),
        groups,
        found.run,
        lines if lines is not None else ReadReport(read=len(asked)),
        found.unreadable,
        agreements,
        found.encode_s,
        found.search_s,
        {
            "exact": options.params.exact,
            "drop_image": options.drop_image,
            "drop_text": options.drop_text,
            "drop_instruction": options.drop_instruction,
            **({"device": options.params.device} if options.params.device != "cpu" else {}),
            **({"hybrid": json.dumps(asdict(options.hybrid))} if options.hybrid else {}),
        },
    )


def results_document(measured: Sequence[Measured], retriever: Retriever, index: Path) -> dict[str, Any]:
    """What was measured, on what, by which commit and command, as JSON."""
    facts = retriever.index.info()
    return {
        **birthplace(),
        "index": str(index),
        "items": facts["items"],
        "nbits": facts["nbits"],
        "encoder": record_of(retriever.encoder),
        "sets": {one.name: one.document() for one in measured},
    }


def birthplace() -> dict[str, Any]:
    """The version, commit and command of this process."""
    from flmr import __version__

    return {"flmr": __version__, "commit": find_commit(), "command": _command()}


def write_results(
    measured: Sequence[Measured], document: Mapping[str, Any], *, run: Path | None, out: Path | None
) -> None:
    """Write the rankings of all sets as one TREC run, and the measures as JSON.

    A name that ends in .jsonl or .csv gets a row a set and group instead, after those that are there.
    Raises StorageError where the file system refuses.
    """
    if run is not None:
        write_run({query: hits for one in measured for query, hits in one.run.items()}, run)
    if out is None:
        return
    if out.suffix in (".jsonl", ".csv"):
        for one in measured:
            labels = {"index": document["index"], "nbits": document["nbits"], "set": one.name, **one.labels}
            for group, report in [("all", one.report), *one.groups.items()]:
                write_result(out, report, command=document["command"], labels={**labels, "group": group})
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _passage_texts(retriever: Retriever) -> Mapping[str, str] | Callable[[str], str]:
    """All texts where they fit in memory, for the chance level of pseudo recall looks at all; else a look-up."""
    index = retriever.index
    if len(index) <= MAX_TEXTS_IN_MEMORY:
        ids = index.ids()
        stored = index.passages(ids)
        return {name: passage.full_text if passage else "" for name, passage in zip(ids, stored, strict=True)}

    def text(passage_id: str) -> str:
        passage = index.passage(passage_id)
        return passage.full_text if passage is not None else ""

    return text


def _control(query: Query, options: Options) -> Query:
    """The query without what a control leaves out; raises InvalidInput where nothing is left."""
    if options.drop_image:
        query = replace(query, image=None, regions=())
    if options.drop_text:
        query = replace(query, text="")
    if options.drop_instruction:
        query = replace(query, instruction="")
    return query


def _group(question: Question, by: str) -> str:
    if by not in question.meta:
        known = ", ".join(sorted(question.meta)) or "none"
        raise InvalidInput(f"question {question.id!r} has no metadata {by!r} to report by; it has {known}")
    return str(question.meta[by])


def agreement(found: Run, exact: Run, k: int) -> float:
    """Mean share of the exact best k among the found best k."""
    shares = []
    for query, hits in exact.items():
        truth = {passage for passage, _ in hits[:k]}
        if truth:
            shares.append(len(truth & {passage for passage, _ in found[query][:k]}) / len(truth))
    return sum(shares) / len(shares) if shares else 1.0
