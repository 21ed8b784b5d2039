"""Our own engine, through its public door: `Index`, `SearchParams`, `MultiVectors`, `maxsim`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import flmr
from benchmarks.search_data import SAMPLE, DataSet, read_queries
from flmr.index import Index, Searcher, SearchParams

SAMPLE_QUERIES = 64


class Engine:
    """An index of so many bits a dimension; 0 bits are float16 vectors.

    sample: show it what questions are like.  precision: of products where vectors are reranked.
    """

    def __init__(
        self,
        folder: Path,
        threads: int,
        nbits: int,
        keep_vectors: bool = False,
        sample: bool = False,
        precision: str = "float32",
    ) -> None:
        self._folder = folder
        self._sample = sample
        self._precision = precision
        self._threads = threads
        self._how = {"nbits": nbits, "keep_vectors": keep_vectors}
        self._index: Index | None = None
        self._searcher: Searcher | None = None
        self._held: flmr.MultiVectors | None = None

    def version(self) -> str:
        """The package's version; the commit stands in a column of its own."""
        return flmr.__version__

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """The default plan, the same at lower aims, and everything scored."""
        aims = {f"aim {recall}": {"target_recall": recall} for recall in (0.8, 0.9, 0.95)}
        return {"default": {}, "exact": {"exact": True}, **aims}

    def build(self, data: DataSet) -> None:
        """Streamed: the vectors are read a block at a time."""
        sample = list(read_queries(data.folder, SAMPLE, 0, SAMPLE_QUERIES)) if self._sample else None
        Index.create(self._folder, data.stream(), sample_queries=sample, overwrite=True, **self._how).close()

    def open(self) -> None:
        """Map the index and take a searcher."""
        self._index = Index.open(self._folder)
        self._searcher = self._index.searcher()

    def search(self, queries_BQD: np.ndarray, k: int, **parameters: Any) -> list[list[int]]:
        """Ids of each query."""
        params = SearchParams(threads=self._threads, **parameters)
        hits = self._searcher.search(list(queries_BQD), k, params=params, passages=False)
        return [[int(hit.id) for hit in found] for found in hits]

    def add(self, documents: Sequence[np.ndarray], first_id: int) -> range:
        """Add, commit, and see them."""
        ids = range(first_id, first_id + len(documents))
        self._index.add(documents, [str(item) for item in ids])
        self._index.commit()
        self._searcher = self._index.searcher()
        return ids

    def delete(self, ids: Sequence[int]) -> None:
        """Delete, commit, and see them no more."""
        self._index.delete([str(item) for item in ids])
        self._index.commit()
        self._searcher = self._index.searcher()

    def hold(self, documents: Sequence[np.ndarray]) -> None:
        """As one float16 array."""
        self._held = flmr.MultiVectors.from_list(documents)

    def rerank(self, query_QD: np.ndarray) -> np.ndarray:
        """MaxSim with every document that is held."""
        query = flmr.MultiVectors(query_QD, np.array([0, len(query_QD)], np.int64))
        return flmr.maxsim(query, self._held, precision=self._precision, threads=self._threads)[0]
