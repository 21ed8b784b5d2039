"""The vectors that search is measured on: sets of documents, queries and the exact answers.

Knows the layout of the data folder, how to make a small synthetic set and what recall is.  Needs NumPy only, because
the workers of other engines read it in environments of their own.

Layout: SET/embs.npy (T, D) float16, SET/doclens.npy (N,) int32, QUERIES.npy and sample32.npy (B, Q, D) float16, and
gt_SET_QUERIES.npz with ids (B, 100) and scores (B, 100) of the exact float32 MaxSim, best first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRUTH_DEPTH = 100
SYNTHETIC_SAMPLE = 32
SAMPLE = "sample32"  # queries that an index may be shown when it is built; none of them is measured


def home() -> Path:
    """Where vectors, indexes and other engines are kept: $FLMR_BENCH_DIR, or ~/.cache/flmr-bench."""
    return Path(os.environ.get("FLMR_BENCH_DIR", Path.home() / ".cache" / "flmr-bench"))


@dataclass(frozen=True)
class DataSet:
    """N documents with T vectors of D dimensions.  offsets_N1: document i is rows offsets[i] to offsets[i + 1]."""

    folder: Path
    name: str
    offsets_N1: np.ndarray

    @classmethod
    def open(cls, folder: Path, name: str) -> DataSet:
        """The set of this name; raises FileNotFoundError where it was not made."""
        lengths = np.load(folder / name / "doclens.npy")
        return cls(folder, name, np.concatenate([[0], lengths.cumsum(dtype=np.int64)]))

    @property
    def documents(self) -> int:
        """N."""
        return len(self.offsets_N1) - 1

    @property
    def num_vectors(self) -> int:
        """T."""
        return int(self.offsets_N1[-1])

    def vectors(self) -> np.ndarray:
        """All vectors, float16, mapped."""
        return np.load(self.folder / self.name / "embs.npy", mmap_mode="r")

    def stream(self, documents_at_once: int = 2000) -> Iterator[np.ndarray]:
        """The documents one after the other, read from the file a block at a time."""
        offsets = self.offsets_N1
        with (self.folder / self.name / "embs.npy").open("rb") as file:
            np.lib.format.read_magic(file)
            (_, dim), _, _ = np.lib.format.read_array_header_1_0(file)
            for first in range(0, self.documents, documents_at_once):
                last = min(first + documents_at_once, self.documents)
                rows = int(offsets[last] - offsets[first])
                block = np.fromfile(file, np.float16, rows * dim).reshape(rows, dim)
                yield from np.split(block, offsets[first + 1 : last] - offsets[first])

    def documents_of(self, rows: Sequence[int]) -> list[np.ndarray]:
        """Some documents, as (n, D) float16 arrays in memory."""
        vectors_TD, offsets = self.vectors(), self.offsets_N1
        return [np.array(vectors_TD[offsets[row] : offsets[row + 1]]) for row in rows]

    def new_documents(self, count: int, seed: int = 3) -> list[np.ndarray]:
        """Documents that the set does not hold: copies of its first, with noise."""
        rng = np.random.default_rng(seed)
        made = []
        for document in self.documents_of(range(count)):
            noise = rng.standard_normal(document.shape, dtype=np.float32) * (0.3 / np.sqrt(document.shape[1]))
            made.append(_unit(document.astype(np.float32) + noise).astype(np.float16))
        return made


def read_queries(folder: Path, queries: str, first: int, count: int) -> np.ndarray:
    """Some queries as (count, Q, D) float32."""
    return np.load(folder / f"{queries}.npy", mmap_mode="r")[first : first + count].astype(np.float32)


def has_truth(folder: Path, name: str, queries: str) -> bool:
    """Whether the exact answers are there; benchmarks.search_truth makes them."""
    return _truth_path(folder, name, queries).exists()


def read_truth(folder: Path, name: str, queries: str) -> np.ndarray:
    """Ids of the exact answers, (B, 100), best first."""
    with np.load(_truth_path(folder, name, queries)) as stored:
        return stored["ids"]


def recall(found: Sequence[Sequence[int]], truth_BK: np.ndarray, k: int) -> float:
    """Mean share of the true best k that is among the first k found."""
    shares = [
        len(set(ids[:k]) & set(true[:k].tolist())) / len(true[:k]) for ids, true in zip(found, truth_BK, strict=True)
    ]
    return float(np.mean(shares))


def maxsim(query_QD: np.ndarray, vectors_TD: np.ndarray, offsets_N1: np.ndarray) -> np.ndarray:
    """MaxSim of a query with each document, in the precision of the arrays that are given."""
    return np.maximum.reduceat(vectors_TD @ query_QD.T, offsets_N1[:-1], axis=0).sum(axis=1)


def write_synthetic(folder: Path, name: str, documents: int, num_queries: int, dim: int = 128, seed: int = 0) -> None:
    """A small set with its queries `q32`, their truth and a sample, of the lengths and roughly the clustering of text.

    A document's rows are noisy words of its topic; a query has 12 noisy rows of one document and 20 that are alike, as
    rows of [MASK] tokens are.  Good for seeing that all works, and for ratios; not a measure of recall on real text.
    """
    rng = np.random.default_rng(seed)
    words_WD = _unit(rng.standard_normal((4000, dim), dtype=np.float32))
    topics = rng.integers(0, len(words_WD), (60, 300))
    lengths = rng.integers(20, 103, documents).astype(np.int32)
    owners = np.repeat(rng.integers(0, len(topics), documents), lengths)
    common = np.minimum(rng.zipf(1.3, len(owners)), topics.shape[1]) - 1
    vectors_TD = _noisy(words_WD[topics[owners, common]], 0.8, rng)
    offsets_N1 = np.concatenate([[0], lengths.cumsum(dtype=np.int64)])

    chosen = rng.integers(0, documents, num_queries + SYNTHETIC_SAMPLE)
    queries = []
    for document in chosen:
        rows = rng.integers(offsets_N1[document], offsets_N1[document + 1], 12)
        words_QD = _noisy(vectors_TD[rows], 0.5, rng)
        masks_QD = _noisy(np.repeat(words_QD[:4], 5, axis=0), 0.3, rng)
        queries.append(np.concatenate([words_QD, masks_QD]))
    vectors_TD = vectors_TD.astype(np.float16)
    queries_BQD, sample_BQD = np.split(np.stack(queries).astype(np.float16), [num_queries])

    (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / name / "embs.npy", vectors_TD)
    np.save(folder / name / "doclens.npy", lengths)
    np.save(folder / "q32.npy", queries_BQD)
    np.save(folder / f"{SAMPLE}.npy", sample_BQD)
    exact_TD = vectors_TD.astype(np.float32)
    scores_BN = np.stack([maxsim(query.astype(np.float32), exact_TD, offsets_N1) for query in queries_BQD])
    ids = np.argsort(-scores_BN, axis=1, kind="stable")[:, :TRUTH_DEPTH]
    np.savez(folder / f"gt_{name}_q32.npz", ids=ids, scores=np.take_along_axis(scores_BN, ids, axis=1))


def _truth_path(folder: Path, name: str, queries: str) -> Path:
    return folder / f"gt_{name}_{queries}.npz"


def _noisy(rows: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _unit(rows + rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(amount / np.sqrt(rows.shape[1])))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
