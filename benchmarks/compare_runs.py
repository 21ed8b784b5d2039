"""Is one run better than another?  nDCG@10 question by question, with a bootstrap interval of the mean difference.

    python -m benchmarks.compare_runs RUN BASE --questions FILE --qrels FILE [--by source]

Both runs are TREC files; a question that a run lacks counts 0 there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from flmr.data import read_qrels, read_questions
from flmr.evaluate import evaluate_run, read_run

RESAMPLES = 10_000


def main() -> None:
    """Print a line a group of questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--qrels", type=Path, required=True)
    parser.add_argument("--by", default="", help="a key of the questions' metadata")
    options = parser.parse_args()

    qrels = read_qrels(options.qrels)
    runs = [read_run(path) for path in (options.run, options.base)]
    groups: dict[str, list[str]] = {}
    for question in read_questions(options.questions):
        if question.id in qrels:
            groups.setdefault(str(question.meta[options.by]) if options.by else "all", []).append(question.id)
    for group, ids in sorted(groups.items()):
        ours, base = (
            np.array([evaluate_run({i: run.get(i, [])}, {i: qrels[i]}).value("nDCG@10") for i in ids]) for run in runs
        )
        more = ours - base
        rows = np.random.default_rng(0).integers(len(ids), size=(RESAMPLES, len(ids)))
        low, high = np.percentile([more[row].mean() for row in rows], [2.5, 97.5])
        sys.stdout.write(
            f"{group}: {len(ids):,} questions, nDCG@10 {ours.mean():.4f} against {base.mean():.4f}, {more.mean():+.4f}"
            f" (95% {low:+.4f} to {high:+.4f}), better {(more > 0).sum()}, worse {(more < 0).sum()}\n"
        )


if __name__ == "__main__":
    main()
