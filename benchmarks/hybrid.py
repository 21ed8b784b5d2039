"""Rows, words and both: what fusion, feedback and refinement bring, by group of questions.

    python -m benchmarks.hybrid INDEX --questions FILE [--qrels FILE] --where split=valid --grid fusion [--out FILE.csv]
        [--by source] [--sample N] [--weight W] [--measures nDCG@10,set_recall@5] [--rows FILE.npz]

--grid: "fusion" tries methods, weights and scales, "feedback" and "refinement" their constants (to choose on valid);
"fused" and "chosen" measure the systems of the tables with the constants that were chosen.
--sample: of each group that many questions at most, drawn with seed 0.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flmr.data import Qrels, qrels_of, read_qrels, read_questions
from flmr.evaluate import Run, evaluate_run
from flmr.hybrid import Feedback, Hybrid, HybridSearcher, Refinement, fuse_runs
from flmr.measure import birthplace
from flmr.records import MultiVectors, Question
from flmr.retriever import Retriever

DEPTH = 100
ROWS, WORDS = Hybrid(weight=1), Hybrid(weight=0)


def fusions() -> Iterator[tuple[str, Hybrid]]:
    """Methods, weights and scales of a fusion."""
    for weight in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        for scale in ("minmax", "z"):
            yield f"weighted {scale} {weight}", Hybrid(weight=weight, scale=scale)
        for constant in (10, 60):
            yield f"rrf {constant} {weight}", Hybrid("rrf", weight, constant=constant)


def feedbacks(base: Hybrid) -> Iterator[tuple[str, Hybrid]]:
    """Constants of feedback, fused before and after."""
    for passages in (2, 3, 5):
        for weight in (0.25, 0.5, 1.0):
            settings = Feedback(passages=passages, weight=weight)
            yield f"feedback {passages} passages, weight {weight}", replace(base, feedback=settings)


def refinements(base: Hybrid) -> Iterator[tuple[str, Hybrid]]:
    """Constants of refinement, fused after."""
    for temperature in (0.5, 1.0):
        for rate in (0.05, 0.2, 0.5):
            settings = Refinement(rate=rate, temperature=temperature)
            yield f"refined, rate {rate}, temperature {temperature}", replace(base, refinement=settings)


def fused(base: Hybrid) -> Iterator[tuple[str, Hybrid]]:
    """Fusion alone."""
    yield "rows and words, rrf", replace(base, method="rrf")
    yield "rows and words, weighted", base


def chosen(base: Hybrid) -> Iterator[tuple[str, Hybrid]]:
    """The systems of the tables, with the defaults of `Feedback` and `Refinement`."""
    feedback, refinement = Feedback(), Refinement()
    yield from fused(base)
    yield "rows, feedback", replace(ROWS, feedback=feedback)
    yield "feedback, fused before", replace(base, feedback=feedback, after=False)
    yield "feedback, fused after", replace(base, feedback=feedback, before=False)
    yield "feedback, fused before and after", replace(base, feedback=feedback)
    yield "refined, alone", replace(base, refinement=refinement, after=False)
    yield "refined, fused after", replace(base, refinement=refinement)


def rows_in(path: Path, asked: Sequence[Question]) -> MultiVectors:
    """The questions' rows from a file of ids, offsets and vectors, where the index was not made by an encoder."""
    with np.load(path) as stored:
        places = {name: place for place, name in enumerate(stored["ids"].tolist())}
        items = MultiVectors(stored["vectors"], stored["offsets"].astype(np.int64))
    return MultiVectors.from_list([items[places[question.id]] for question in asked])


def main() -> None:
    """Ask the questions as each system would and write what they measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--qrels", type=Path)
    parser.add_argument("--where", default="", help="KEY=VALUE|VALUE,... of the questions' metadata")
    parser.add_argument("--by", default="", help="a key of the questions' metadata")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--grid", choices=("fusion", "feedback", "refinement", "fused", "chosen"), required=True)
    parser.add_argument("--weight", type=float, default=Hybrid.weight)
    parser.add_argument("--scale", default=Hybrid.scale)
    parser.add_argument("--measures", default="nDCG@10,set_recall@5,set_recall@100")
    parser.add_argument("--rows", type=Path, help="the questions' rows, by `benchmarks.hybrid_minilm questions`")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    wanted = dict(pair.split("=", 1) for pair in options.where.split(",") if pair)
    questions = [
        question
        for question in read_questions(options.questions, strict=True)
        if all(str(question.meta.get(key)) in value.split("|") for key, value in wanted.items())
    ]
    qrels = read_qrels(options.qrels, strict=True) if options.qrels else qrels_of(questions)
    groups: dict[str, list[Question]] = {}
    for question in questions:
        if qrels.get(question.id):
            groups.setdefault(str(question.meta[options.by]) if options.by else "all", []).append(question)
    if options.sample:
        rng = np.random.default_rng(0)
        for name, members in groups.items():
            groups[name] = [members[i] for i in sorted(rng.permutation(len(members))[: options.sample])]
    asked = [question for members in groups.values() for question in members]

    with Retriever.open(options.index) as retriever:
        table = Table(options, groups, qrels, retriever)
        searcher = HybridSearcher(retriever.index.searcher())
        rows = rows_in(options.rows, asked) if options.rows else retriever.encode([q.query for q in asked])

        def run_of(hybrid: Hybrid) -> Run:
            started = time.perf_counter()
            found = searcher.search([q.query.text for q in asked], rows, DEPTH, hybrid, passages=False)
            sys.stdout.write(f"{1000 * (time.perf_counter() - started) / len(asked):.0f} ms a question\n")
            return {q.id: [(hit.id, hit.score) for hit in hits] for q, hits in zip(asked, found, strict=True)}

        base = Hybrid(weight=options.weight, scale=options.scale)
        own, words = run_of(ROWS), run_of(WORDS)
        table.add("rows", own)
        table.add("words", words)
        if options.grid == "fusion":
            for name, system in fusions():
                shares = [system.weight, 1 - system.weight]
                how = {"method": system.method, "scale": system.scale, "constant": system.constant}
                table.add(name, fuse_runs([own, words], weights=shares, k=DEPTH, **how))
            return
        grids = {"fused": fused, "feedback": feedbacks, "refinement": refinements, "chosen": chosen}
        for name, system in grids[options.grid](base):
            table.add(name, run_of(system))


class Table:
    """Lines of a CSV file, one a group, system and measure; on the terminal the groups stand side by side."""

    def __init__(
        self, options: argparse.Namespace, groups: dict[str, list[Question]], qrels: Qrels, retriever: Retriever
    ) -> None:
        self._out, self._measures, self._groups, self._qrels = options.out, options.measures.split(","), groups, qrels
        self._answers = any(q.answers for members in groups.values() for q in members)
        ids = retriever.index.ids()
        stored = retriever.index.passages(ids)
        self._texts = {name: passage.full_text if passage else "" for name, passage in zip(ids, stored, strict=True)}
        self._birthplace = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": birthplace()["commit"],
            "command": shlex.join(["python", "-m", "benchmarks.hybrid", *sys.argv[1:]]),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "where": options.where,
        }

    def add(self, system: str, run: Run) -> None:
        """Measure a run and append its lines."""
        lines = []
        for group, members in self._groups.items():
            report = evaluate_run(
                {q.id: run[q.id] for q in members},
                {q.id: self._qrels[q.id] for q in members},
                answers={q.id: q.answers for q in members} if self._answers else None,
                passage_text=self._texts if self._answers else None,
                num_passages=len(self._texts),
            )
            for measure in self._measures:
                value = f"{report.value(measure):.4f}"
                facts = {"group": group, "questions": len(members), "system": system, "measure": measure}
                lines.append({**self._birthplace, **facts, "value": value})
        for measure in self._measures:
            values = [str(line["value"]) for line in lines if line["measure"] == measure]
            mean = np.mean([float(value) for value in values])
            sys.stdout.write(f"{system:40} {measure:16} {' '.join(values)}   mean {mean:.4f}\n")
        sys.stdout.flush()
        if self._out is not None:
            new = not self._out.exists()
            with self._out.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerows(lines)


if __name__ == "__main__":
    main()
