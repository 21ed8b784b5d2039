"""Picture questions without a trained retriever: BM25 on the question, and on the name of the nearest known picture.

    python -m benchmarks.baselines_public_kb [--shared FOLDER] [--out FILE.jsonl]

The nearest picture is the one of largest cosine between pooled MobileNetV2 features, among the train drawings (or train
and valid).  One row a system and split in benchmarks/results/.  "true name + BM25" is told the right concept: it bounds
what recognition alone can win.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bm25 import bm25_run
from flmr.data import qrels_of, read_passages, read_questions
from flmr.evaluate import Run, evaluate_run, write_result
from flmr.records import Passage, Question

SPLITS = ("valid", "test", "test_unseen")


@dataclass(frozen=True)
class Pictures:
    """Pooled features of all pictures, of length 1, with the file, concept and split of each."""

    features_PD: np.ndarray  # P pictures, D dimension
    files: list[str]
    concepts: np.ndarray
    splits: np.ndarray

    @classmethod
    def load(cls, path: Path) -> Pictures:
        """Read the archive of features beside the pictures."""
        with np.load(path) as archive:
            features_PD = archive["X"].astype(np.float32)
            features_PD /= np.linalg.norm(features_PD, axis=1, keepdims=True)
            return cls(features_PD, [Path(f).name for f in archive["files"]], archive["ent"], archive["split"])

    def concepts_by_nearness(self, file: str, gallery: tuple[str, ...]) -> list[str]:
        """Concepts of the gallery's pictures, nearest picture first, each once."""
        rows = np.flatnonzero(np.isin(self.splits, gallery))
        nearness = self.features_PD[rows] @ self.features_PD[self.files.index(file)]
        return list(dict.fromkeys(self.concepts[rows[np.argsort(-nearness, kind="stable")]].tolist()))


def concept_run(ranked: dict[str, list[str]], passages: list[Passage]) -> dict[str, list[tuple[str, float]]]:
    """All passages of the nearest concept, then of the next: what the picture says without the question."""
    of_concept: dict[str, list[str]] = {}
    for passage in passages:
        of_concept.setdefault(passage.meta["entity"], []).append(passage.id)
    ids = {question: [p for c in concepts[:100] for p in of_concept[c]][:100] for question, concepts in ranked.items()}
    return {question: [(p, -float(i)) for i, p in enumerate(found)] for question, found in ids.items()}


def systems(
    questions: list[Question], passages: list[Passage], pictures: Pictures, names: dict[str, str]
) -> dict[str, Run]:
    """The run of each system on these questions."""
    texts = {p.id: p.full_text for p in passages}
    asked = {q.id: q.query.text for q in questions}
    runs: dict[str, Run] = {"question BM25": bm25_run(texts, asked)}
    galleries = [("train",)] if questions[0].meta["split"] == "valid" else [("train",), ("train", "valid")]
    for gallery in galleries:
        ranked = {q.id: pictures.concepts_by_nearness(Path(str(q.query.image)).name, gallery) for q in questions}
        nearest = {question: names[concepts[0]] for question, concepts in ranked.items()}
        known = f"1-NN ({'+'.join(gallery)})"
        runs[f"{known} name + question BM25"] = bm25_run(texts, {i: f"{nearest[i]} {asked[i]}" for i in asked})
        runs[f"{known} name BM25, no question"] = bm25_run(texts, nearest)
        runs[f"{known} passages of the concept, no question"] = concept_run(ranked, passages)
    true_names = {q.id: names[q.meta["entity"]] for q in questions}
    runs["true name + question BM25"] = bm25_run(texts, {i: f"{true_names[i]} {asked[i]}" for i in asked})
    return runs


def main() -> None:
    """Measure every system on every split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("FLMR_SHARED", "../shared")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/baselines_public_kb.jsonl"))
    options = parser.parse_args()

    folder = options.shared / "data/public_kb"
    passages = list(read_passages(folder / "passages.jsonl", strict=True))
    all_questions = list(read_questions(folder / "queries.jsonl", strict=True))
    pictures = Pictures.load(folder / "mobilenetv2_pooled_fp16.npz")
    entities = (json.loads(line) for line in (folder / "entities.jsonl").read_text(encoding="utf-8").splitlines())
    names = {entity["id"]: entity["name"] for entity in entities}
    texts = {p.id: p.full_text for p in passages}

    options.out.unlink(missing_ok=True)
    command = f"python -m benchmarks.baselines_public_kb {' '.join(sys.argv[1:])}".strip()
    for split in SPLITS:
        questions = [q for q in all_questions if q.meta["split"] == split]
        answers = {q.id: q.answers for q in questions}
        for system, run in systems(questions, passages, pictures, names).items():
            report = evaluate_run(
                run,
                qrels_of(questions),
                ks=(1, 5, 10),
                answers=answers,
                passage_text=texts,
                num_passages=len(passages),
            )
            labels = {"data": "public_kb", "split": split, "system": system}
            write_result(options.out, report, command=command, labels=labels)
            sys.stdout.write(f"\n{split}: {system}\n{report.table()}\n")


if __name__ == "__main__":
    main()
