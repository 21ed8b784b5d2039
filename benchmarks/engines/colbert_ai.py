"""colbert-ai: PLAID as ColBERT's authors publish it, fed with ready vectors.

Its settings for a k are those that its own Searcher chooses for that k.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import colbert.indexing.collection_indexer as indexing
import numpy as np
import torch
from colbert.data.collection import Collection
from colbert.infra import ColBERTConfig
from colbert.modeling.colbert import ColBERT
from colbert.search.index_storage import IndexScorer

from benchmarks.search_data import DataSet

CHOSEN_BY_K = ((10, (1, 0.5, 256)), (100, (2, 0.45, 1024)))
LARGER_K = (4, 0.4)
WIDER = ((1, 0.5, 256), (2, 0.45, 1024), (4, 0.4, 4096), (8, 0.4, 4096), (16, 0.0, 8192))


class Engine:
    """An index of so many bits a dimension."""

    def __init__(self, folder: Path, threads: int, nbits: int = 2) -> None:
        torch.set_num_threads(threads)
        ColBERT.try_load_torch_extensions(False)  # compiles its C++ at the first use ever: minutes, not to be timed
        IndexScorer.try_load_torch_extensions(False)
        self._folder = folder
        self._nbits = nbits
        self._scorer: IndexScorer | None = None

    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version("colbert-ai")

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """(cells probed, centroid score threshold, candidates), and wider ones."""
        default = next((chosen for most, chosen in CHOSEN_BY_K if k <= most), (*LARGER_K, max(4 * k, 4096)))
        wider = {f"{cells} cells, {ndocs}": _parameters(cells, least, ndocs) for cells, least, ndocs in WIDER}
        return {"default": _parameters(*default), **wider}

    def build(self, data: DataSet) -> None:
        """Its collection indexer, with an encoder that hands out the vectors that are there."""
        settings = {"nbits": self._nbits, "kmeans_niters": 4, "dim": 128, "rank": 0, "nranks": 1, "gpus": 0}
        config = ColBERTConfig(index_path=str(self._folder), avoid_fork_if_possible=True, **settings)
        self._folder.mkdir(parents=True, exist_ok=True)
        _Indexer(config, data).run([[None]])

    def open(self) -> None:
        """Load the index into memory, as it does by default."""
        self._scorer = IndexScorer(str(self._folder), use_gpu=False)

    def search(self, queries_BQD: np.ndarray, k: int, **parameters: Any) -> list[list[int]]:
        """Ids of each query."""
        shape = {"query_maxlen": queries_BQD.shape[1], "dim": queries_BQD.shape[2], "gpus": 0}
        config = ColBERTConfig(**parameters, **shape)
        return [self._scorer.rank(config, torch.from_numpy(query[None]))[0][:k] for query in queries_BQD]


class _Encoder:
    """Vectors of documents, asked for by number."""

    def __init__(self, data: DataSet) -> None:
        self._vectors_TD = torch.from_numpy(np.array(data.vectors()))
        self._offsets_N1 = data.offsets_N1

    def encode_passages(self, passages: Sequence[str]) -> tuple[torch.Tensor | None, list[int] | None]:
        if not len(passages):
            return None, None
        rows = list(self._rows(passages))
        vectors = torch.cat([self._vectors_TD[first:last] for first, last in rows]).float()
        return vectors, [last - first for first, last in rows]

    def _rows(self, passages: Sequence[str]) -> Iterator[tuple[int, int]]:
        for passage in passages:
            yield int(self._offsets_N1[int(passage)]), int(self._offsets_N1[int(passage) + 1])


class _Indexer(indexing.CollectionIndexer):
    """Its indexer without its model."""

    def __init__(self, config: ColBERTConfig, data: DataSet) -> None:
        self.verbose = 0
        self.config = config
        self.rank, self.nranks = 0, 1
        self.use_gpu = False
        self.collection = Collection.cast([str(document) for document in range(data.documents)])
        self.encoder = _Encoder(data)
        self.saver = indexing.IndexSaver(config)


def _parameters(cells: int, least: float, ndocs: int) -> dict[str, Any]:
    return {"ncells": cells, "centroid_score_threshold": least, "ndocs": ndocs}
