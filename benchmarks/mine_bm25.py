"""What BM25 ranks high for each question, as a TREC run: the hard negatives that `mined` of a training recipe names.

    python -m benchmarks.mine_bm25 PASSAGES QUESTIONS RUN [--where split=train] [--ranks 50]

Right passages stay in the run; training leaves them out by its own judgments.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.bm25 import STOP_WORDS, bm25_run
from flmr.data import read_passages, read_questions
from flmr.evaluate import write_run


def main() -> None:
    """Rank the passages for every question whose metadata match and write the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("passages", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--where", default="", help="KEY=VALUE of the questions' metadata")
    parser.add_argument("--ranks", type=int, default=50)
    parser.add_argument("--stop-words", choices=tuple(STOP_WORDS), default="questions")
    options = parser.parse_args()

    key, _, value = options.where.partition("=")
    passages = {p.id: p.full_text for p in read_passages(options.passages, strict=True)}
    questions = [q for q in read_questions(options.questions, strict=True) if not key or q.meta.get(key) == value]
    run = bm25_run(passages, {q.id: q.query.text for q in questions}, options.ranks, stop_words=options.stop_words)
    options.run.parent.mkdir(parents=True, exist_ok=True)
    write_run(run, options.run, tag="bm25")
    sys.stdout.write(f"{options.run}: {len(run):,} questions, {sum(map(len, run.values())):,} passages\n")


if __name__ == "__main__":
    main()
