"""BM25 on the four text collections, searched as one corpus: the figures that a late-interaction encoder has to beat.

    python -m benchmarks.baselines_text_ir [--shared FOLDER] [--out FILE.jsonl] [--split test] [--stop-words questions]

Lucene's BM25, k1 = 1.2, b = 0.75, no stemming.  One row a collection in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.bm25 import STOP_WORDS, bm25_run
from flmr.data import read_passages, read_qrels, read_questions
from flmr.evaluate import evaluate_run, write_result

SOURCES = ("squad", "cranfield", "cisi", "npl")


def main() -> None:
    """Measure each collection's queries of one split against the whole corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("FLMR_SHARED", "../shared")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/baselines_text_ir.jsonl"))
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    parser.add_argument("--stop-words", choices=tuple(STOP_WORDS), default="questions")
    options = parser.parse_args()

    folder = options.shared / "data/text_ir"
    passages = {p.id: p.full_text for p in read_passages(folder / "corpus.jsonl", strict=True)}
    questions = [q for q in read_questions(folder / "queries.jsonl", strict=True) if q.meta["split"] == options.split]
    qrels = read_qrels(folder / f"qrels/{options.split}.tsv", strict=True)
    run = bm25_run(passages, {q.id: q.query.text for q in questions}, stop_words=options.stop_words)

    options.out.unlink(missing_ok=True)
    for source in SOURCES:
        ids = [q.id for q in questions if q.meta["source"] == source]
        report = evaluate_run(
            {i: run[i] for i in ids}, {i: qrels[i] for i in ids if i in qrels}, num_passages=len(passages)
        )
        command = f"python -m benchmarks.baselines_text_ir {' '.join(sys.argv[1:])}".strip()
        labels = {
            "data": "text_ir",
            "source": source,
            "split": options.split,
            "system": f"BM25, stop words: {options.stop_words}",
        }
        write_result(options.out, report, command=command, labels=labels)
        sys.stdout.write(f"\n{source}, {options.split}\n{report.table()}\n")


if __name__ == "__main__":
    main()
