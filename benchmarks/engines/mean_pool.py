"""The single-vector way round: means of documents in a faiss HNSW graph, then exact MaxSim of the best of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.search_data import DataSet, maxsim

NEIGHBOURS, EF_CONSTRUCTION = 32, 200


class Engine:
    """A graph of means beside the vectors, which stay mapped."""

    def __init__(self, folder: Path, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self._folder = folder
        self._graph: Any = None
        self._vectors_TD = np.empty((0, 0), np.float16)
        self._offsets_N1 = np.zeros(1, np.int64)

    def version(self) -> str:
        """The installed version of faiss."""
        return importlib.metadata.version("faiss-cpu")

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """How many documents are scored in full."""
        return {"default": {"candidates": 1000}, **{str(n): {"candidates": n} for n in (100, 300, 3000)}}

    def build(self, data: DataSet) -> None:
        """Means, their graph and a copy of the vectors."""
        self._folder.mkdir(parents=True, exist_ok=True)
        means_ND = np.stack([document.astype(np.float32).mean(axis=0) for document in data.stream()])
        graph = faiss.IndexHNSWFlat(means_ND.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        graph.add(means_ND / np.linalg.norm(means_ND, axis=1, keepdims=True))
        faiss.write_index(graph, str(self._folder / "graph.faiss"))
        np.save(self._folder / "offsets.npy", data.offsets_N1)
        np.save(self._folder / "embs.npy", data.vectors())

    def open(self) -> None:
        """Load the graph and map the vectors."""
        self._graph = faiss.read_index(str(self._folder / "graph.faiss"))
        self._offsets_N1 = np.load(self._folder / "offsets.npy")
        self._vectors_TD = np.load(self._folder / "embs.npy", mmap_mode="r")

    def search(self, queries_BQD: np.ndarray, k: int, candidates: int) -> list[np.ndarray]:
        """Ids of each query."""
        self._graph.hnsw.efSearch = candidates
        return [self._search(query, k, candidates) for query in queries_BQD]

    def _search(self, query_QD: np.ndarray, k: int, candidates: int) -> np.ndarray:
        mean = query_QD.mean(axis=0, keepdims=True)
        _, found = self._graph.search(mean / np.linalg.norm(mean), candidates)
        items = np.sort(found[0][found[0] >= 0])
        parts = [self._vectors_TD[self._offsets_N1[i] : self._offsets_N1[i + 1]] for i in items]
        scores = maxsim(query_QD, np.concatenate(parts).astype(np.float32), _offsets(parts))
        return items[np.argsort(-scores, kind="stable")[:k]]


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *(len(part) for part in parts)])
