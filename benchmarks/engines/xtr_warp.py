"""xtr-warp-rs: WARP in Rust, with the settings that it comes with (4 bits)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xtr_warp import XTRWarp

from benchmarks.search_data import DataSet

EVERYTHING = 1_000_000


class Engine:
    """An index on the processor."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._folder = folder
        self._threads = threads
        self._index: XTRWarp | None = None

    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version("xtr-warp-rs")

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """Its default, more probes, and the widest without a threshold."""
        probes = {f"{nprobe} probes": {"nprobe": nprobe} for nprobe in (2, 8, 32)}
        unlimited = {"centroid_score_threshold": 0.0, "max_candidates": EVERYTHING}
        widest = {f"{nprobe} probes, no limit": {"nprobe": nprobe, **unlimited} for nprobe in (16, 64)}
        return {"default": {}, **probes, **widest}

    def build(self, data: DataSet) -> None:
        """All documents as a list of float32 tensors, which is what it takes."""
        documents = _tensors(data.documents_of(range(data.documents)))
        XTRWarp(str(self._folder), device="cpu").create(documents, device="cpu", show_progress=False)

    def open(self) -> None:
        """Load it."""
        self._index = XTRWarp(str(self._folder), device="cpu")
        self._index.load("cpu", torch.float32)

    def search(self, queries_BQD: np.ndarray, k: int, **parameters: Any) -> list[list[int]]:
        """Ids of each query."""
        how = {"top_k": k, "num_threads": self._threads, "show_progress": False}
        found = self._index.search(torch.from_numpy(queries_BQD), **how, **parameters)
        return [[item for item, _ in one] for one in found]

    def add(self, documents: Sequence[np.ndarray], first_id: int) -> list[int]:
        """It numbers documents itself."""
        return self._index.add(_tensors(documents), show_progress=False)

    def delete(self, ids: Sequence[int]) -> None:
        """By number."""
        self._index.delete(list(ids))


def _tensors(documents: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(document).float() for document in documents]
