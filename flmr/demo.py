"""The demo: a sample knowledge base is written, indexed, asked and measured, offline and on a CPU.

Knows the order of the steps and what to print of each.  Every step is the library's own; nothing is prepared beforehand
but the small checkpoint that comes with the package, which saw neither these pictures nor these questions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flmr.data import qrels_of, read_questions
from flmr.data.sample import write_sample
from flmr.explain import write_page
from flmr.measure import Measured, Options, birthplace, measure_questions
from flmr.progress import reporting
from flmr.records import Explanation, Question
from flmr.retriever import Progress, Retriever
from flmr.roles import Encoder
from flmr.show import hit_document, query_document, show_control, show_facts, show_hits, show_query

if TYPE_CHECKING:
    from rich.console import Console

KS = (1, 5, 10)
QUESTIONS_SHOWN = 4
HITS_SHOWN = 3
STYLES = {"False": "drawn in styles of training", "True": "drawn in styles never seen"}  # by `held_out_style`


def run_demo(
    out: Path,
    *,
    encoder: Encoder | str = "bundled",
    console: Console | None = None,
    progress: Progress = False,
) -> dict[str, Any]:
    """Run every step in the folder `out`, printing to the console as it goes; the results as a JSON document.

    The sample that an earlier run wrote is used again.  Raises FlmrError subclasses of the steps.
    """
    steps = _Steps(console)
    with steps("pictures, passages and questions"):
        folder = sample_folder(out, progress=progress)
        questions = list(read_questions(folder / "questions.test.jsonl", strict=True))
    with steps("index"):
        retriever = Retriever.build(
            folder / "passages.jsonl", out / "index", encoder, overwrite=True, strict=True, progress=progress
        )
    with retriever:
        with steps("questions about pictures"):
            shown = _ask(retriever, questions, console)
        with steps("the held-out questions, all of them"):
            measured = _measured(retriever, "with the picture", questions, Options(), progress)
        with steps("the same without their pictures"):
            control = _measured(retriever, "without it", questions, Options(drop_image=True), progress)
        with steps("a page that explains one hit"):
            page = write_page(_explained(retriever, questions), out / "explain.html")
        facts = retriever.index.info()
    if console is not None:
        show_control(console, measured, control, STYLES)
        console.print()
        show_facts(console, {name: f"{seconds:.1f} s" for name, seconds in steps.seconds.items()})
        console.print(
            f"\nOpen [bold]{page}[/bold] in a browser to see which regions and words matched.", soft_wrap=True
        )
    return {
        **birthplace(),
        "passages": facts["items"],
        "questions": len(questions),
        "asked": shown,
        "measures": {one.name: one.document() for one in (measured, control)},
        "page": str(page),
        "seconds": {name: round(seconds, 2) for name, seconds in steps.seconds.items()},
    }


def sample_folder(out: Path, *, progress: Progress) -> Path:
    """The sample's folder, written if an earlier run did not finish writing it."""
    folder, partial = out / "sample", out / "sample.partial"
    if not folder.is_dir():
        with reporting(progress) as report:
            write_sample(partial, splits=("test",), progress=report)
        partial.rename(folder)
    return folder


def _ask(retriever: Retriever, questions: Sequence[Question], console: Console | None) -> list[dict[str, Any]]:
    asked = [questions[i] for i in _spread(len(questions))]
    found = retriever.search([question.query for question in asked], HITS_SHOWN)
    for question, hits in zip(asked, found, strict=True):
        if console is not None:
            show_query(console, question.query)
            show_hits(console, hits, marked=frozenset(question.positive_ids), lines=1)
            answers, right = " or ".join(question.answers), ", ".join(question.positive_ids)
            console.print(Text(f"     answer: {answers}  ({right})\n", "dim"), soft_wrap=True)
    return [
        {
            "query": query_document(question.query),
            "positive_ids": list(question.positive_ids),
            "hits": [hit_document(hit) for hit in hits],
        }
        for question, hits in zip(asked, found, strict=True)
    ]


def _explained(retriever: Retriever, questions: Sequence[Question]) -> Explanation:
    """The best hit of the first question shown that was answered right; of the first one, if none was."""
    asked = [questions[i] for i in _spread(len(questions))]
    best = [hits[0] for hits in retriever.search([question.query for question in asked], 1)]
    right = [i for i, hit in enumerate(best) if hit.id in asked[i].positive_ids]
    chosen = right[0] if right else 0
    return retriever.explain(asked[chosen].query, best[chosen])


def _measured(
    retriever: Retriever,
    name: str,
    questions: Sequence[Question],
    options: Options,
    progress: Progress,
) -> Measured:
    qrels = qrels_of(questions)
    return measure_questions(retriever, name, questions, qrels, options, ks=KS, by="held_out_style", progress=progress)


def _spread(count: int) -> list[int]:
    """A few places spread evenly over the questions, the same in every run."""
    return [i * count // QUESTIONS_SHOWN for i in range(min(QUESTIONS_SHOWN, count))]


class _Steps:
    """Announces each step and keeps its seconds."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self._console is not None:
            self._console.print(f"[bold]{len(self.seconds) + 1}. {name}[/bold]")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
