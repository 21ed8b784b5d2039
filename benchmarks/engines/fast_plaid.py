"""fast-plaid: PLAID in Rust over torch, with the settings that it comes with (4 bits)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fast_plaid.search import FastPlaid

from benchmarks.search_data import DataSet

WIDER = ((1, 256), (2, 1024), (8, 1024), (8, 4096), (32, 16384))


class Engine:
    """An index on the processor."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._folder = folder
        self._index: FastPlaid | None = None

    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version("fast-plaid")

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """Its default, and others from narrow to wide."""
        wider = {f"{probes} probes, {full}": {"n_ivf_probe": probes, "n_full_scores": full} for probes, full in WIDER}
        return {"default": {}, **wider}

    def build(self, data: DataSet) -> None:
        """All documents as a list of tensors, which is what it takes."""
        FastPlaid(index=str(self._folder), device="cpu").create(
            documents_embeddings=_tensors(data.documents_of(range(data.documents)))
        )

    def open(self) -> None:
        """Load it."""
        self._index = FastPlaid(index=str(self._folder), device="cpu")

    def search(self, queries_BQD: np.ndarray, k: int, **parameters: Any) -> list[list[int]]:
        """Ids of each query."""
        queries = torch.from_numpy(queries_BQD)
        found = self._index.search(queries_embeddings=queries, top_k=k, show_progress=False, **parameters)
        return [[item for item, _ in one] for one in found]

    def add(self, documents: Sequence[np.ndarray], first_id: int) -> range:
        """It numbers documents on."""
        self._index.update(documents_embeddings=_tensors(documents))
        return range(first_id, first_id + len(documents))

    def delete(self, ids: Sequence[int]) -> None:
        """By number."""
        self._index.delete(subset=list(ids))


def _tensors(documents: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(document) for document in documents]
