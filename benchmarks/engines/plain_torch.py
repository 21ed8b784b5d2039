"""Plain torch: one matrix product a block of documents, all of them scored.

Documents are sorted by length and filled up with copies of their last row, which changes no maximum.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.search_data import DataSet

DOCUMENTS_AT_ONCE = 256


class Blocks:
    """Documents as blocks (n, L, D), and which document stands where."""

    def __init__(self, documents: Sequence[np.ndarray], dtype: torch.dtype) -> None:
        self.order = np.argsort([len(document) for document in documents], kind="stable")
        self.blocks = []
        for first in range(0, len(documents), DOCUMENTS_AT_ONCE):
            rows = self.order[first : first + DOCUMENTS_AT_ONCE]
            longest = len(documents[rows[-1]])
            filled = [documents[row][np.minimum(np.arange(longest), len(documents[row]) - 1)] for row in rows]
            self.blocks.append(torch.from_numpy(np.stack(filled)).to(dtype))

    def scores(self, query_QD: np.ndarray) -> np.ndarray:
        """MaxSim with every document."""
        query = torch.from_numpy(query_QD).to(self.blocks[0].dtype).T
        parts = [(block @ query).amax(dim=1).sum(dim=1, dtype=torch.float32) for block in self.blocks]
        scores_N = np.empty(len(self.order), np.float32)
        scores_N[self.order] = torch.cat(parts).numpy()
        return scores_N


class Engine:
    """Vectors of one type in memory."""

    def __init__(self, folder: Path, threads: int, dtype: str) -> None:
        torch.set_num_threads(threads)
        self._folder = folder
        self._dtype = getattr(torch, dtype)
        self._documents: Blocks | None = None
        self._held: Blocks | None = None

    def version(self) -> str:
        """torch's version."""
        return torch.__version__

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """It has none."""
        return {"default": {}}

    def build(self, data: DataSet) -> None:
        """A copy of the vectors."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in ("embs.npy", "doclens.npy"):
            shutil.copyfile(data.folder / data.name / name, self._folder / name)

    def open(self) -> None:
        """Read them all."""
        lengths = np.load(self._folder / "doclens.npy")
        vectors_TD = np.load(self._folder / "embs.npy", mmap_mode="r")
        self._documents = Blocks(np.split(vectors_TD, lengths.cumsum(dtype=np.int64)[:-1]), self._dtype)

    def search(self, queries_BQD: np.ndarray, k: int) -> list[np.ndarray]:
        """Ids of each query."""
        return [torch.from_numpy(self._documents.scores(query)).topk(k).indices.numpy() for query in queries_BQD]

    def hold(self, documents: Sequence[np.ndarray]) -> None:
        """In blocks."""
        self._held = Blocks(documents, self._dtype)

    def rerank(self, query_QD: np.ndarray) -> np.ndarray:
        """MaxSim with every document that is held."""
        return self._held.scores(query_QD)
