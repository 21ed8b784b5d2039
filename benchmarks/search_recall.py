"""What bits and pruning cost: indexes of the same vectors, searched by default and exactly, on a sample of questions.

    python -m benchmarks.search_recall FLAT INDEX... --questions FILE --qrels FILE [--by source] [--where split=test]

FLAT holds float16 vectors (`flmr index --nbits 0`); its exact ranking is what the others are compared with.  The sample
holds as many questions of each group, or all where there are fewer.  One row an index and group in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flmr.data import read_qrels, read_questions
from flmr.evaluate import Report, Run, evaluate_run, write_result
from flmr.index import SearchParams
from flmr.records import MultiVectors, Question
from flmr.retriever import Retriever

KS = (10, 100)


def main() -> None:
    """Search every index twice, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("flat", type=Path)
    parser.add_argument("indexes", type=Path, nargs="+")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--qrels", type=Path, required=True)
    parser.add_argument("--by", default="")
    parser.add_argument("--where", default="", help="KEY=VALUE of the questions' metadata")
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/search_recall.jsonl"))
    options = parser.parse_args()

    qrels = read_qrels(options.qrels)
    questions = _sample(list(read_questions(options.questions)), qrels, options.where, options.by, options.sample)
    groups = {
        group: [q.id for q in questions if _group(q, options.by) == group] for group in _groups(questions, options.by)
    }
    with Retriever.open(options.flat) as flat:
        vectors = flat.encode([q.query for q in questions])
        truth, seconds = _search(flat, questions, vectors, SearchParams(exact=True, threads=options.threads))
        _write(options, flat, "exact", truth, truth, truth, seconds, groups, qrels)
    for path in options.indexes:
        with Retriever.open(path) as index:
            exact, exact_s = _search(index, questions, vectors, SearchParams(exact=True, threads=options.threads))
            found, found_s = _search(index, questions, vectors, SearchParams(threads=options.threads))
            _write(options, index, "exact", exact, exact, truth, exact_s, groups, qrels)
            _write(options, index, "default", found, exact, truth, found_s, groups, qrels)


def _sample(
    questions: Sequence[Question], qrels: Mapping[str, Mapping[str, int]], where: str, by: str, size: int
) -> list[Question]:
    """Judged questions whose metadata match: of each group the first `size` of a seeded shuffle."""
    key, _, value = where.partition("=")
    able = [q for q in questions if q.id in qrels and (not key or q.meta.get(key) == value)]
    chosen: list[Question] = []
    for group in _groups(able, by):
        own = [q for q in able if _group(q, by) == group]
        rows = np.random.default_rng(0).permutation(len(own))[:size]
        chosen += [own[row] for row in sorted(rows.tolist())]
    return chosen


def _search(
    index: Retriever, questions: Sequence[Question], vectors: MultiVectors, params: SearchParams
) -> tuple[Run, float]:
    began = time.perf_counter()
    hits = index.index.searcher().search(vectors, max(KS), params=params, passages=False)
    seconds = time.perf_counter() - began
    return {q.id: [(hit.id, hit.score) for hit in found] for q, found in zip(questions, hits, strict=True)}, seconds


def _write(
    options: argparse.Namespace,
    index: Retriever,
    search: str,
    run: Run,
    exact: Run,
    truth: Run,
    seconds: float,
    groups: Mapping[str, Sequence[str]],
    qrels: Mapping[str, Mapping[str, int]],
) -> None:
    """A row a group, and one of all groups together."""
    facts = index.index.info()
    command = f"python -m benchmarks.search_recall {' '.join(sys.argv[1:])}"
    everything = [i for ids in groups.values() for i in ids]
    for group, ids in {**groups, "all": everything}.items():
        report = evaluate_run({i: run[i] for i in ids}, {i: dict(qrels[i]) for i in ids}, num_passages=facts["items"])
        labels = {
            "index": index.index.path.name,
            "nbits": facts["nbits"],
            "bytes_per_vector": round(facts["bytes_per_vector"], 1),
            "search": search,
            "group": group,
            **{f"recall@{k}_of_exact": round(_agreement(run, exact, ids, k), 4) for k in KS},
            **{f"recall@{k}_of_float16": round(_agreement(run, truth, ids, k), 4) for k in KS},
            "ms_per_query": round(1000 * seconds / len(everything), 1),
        }
        write_result(options.out, report, command=command, labels=labels)
        _show(labels, report)


def _show(labels: Mapping[str, str | int | float], report: Report) -> None:
    measures = " ".join(f"{name} {report.value(name):.3f}" for name in ("nDCG@10", "set_recall@5", "set_recall@100"))
    sys.stdout.write(f"{' '.join(f'{name}={value}' for name, value in labels.items())} {measures}\n")
    sys.stdout.flush()


def _agreement(run: Run, truth: Run, ids: Sequence[str], k: int) -> float:
    """Mean share of the true best k among the found best k."""
    best = [({p for p, _ in run[i][:k]}, {p for p, _ in truth[i][:k]}) for i in ids]
    return float(np.mean([len(found & true) / len(true) for found, true in best]))


def _groups(questions: Sequence[Question], by: str) -> list[str]:
    return sorted({_group(question, by) for question in questions})


def _group(question: Question, by: str) -> str:
    return str(question.meta[by]) if by else ""


if __name__ == "__main__":
    main()
