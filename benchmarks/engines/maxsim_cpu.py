"""maxsim-cpu: every document scored in float32, no index."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import maxsim_cpu
import numpy as np

from benchmarks.search_data import DataSet


class Engine:
    """The documents in memory."""

    def __init__(self, folder: Path, threads: int) -> None:  # its threads come from RAYON_NUM_THREADS
        self._folder = folder
        self._documents: list[np.ndarray] = []
        self._held: list[np.ndarray] = []

    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version("maxsim-cpu")

    def settings(self, k: int) -> dict[str, dict[str, Any]]:
        """It has none."""
        return {"default": {}}

    def build(self, data: DataSet) -> None:
        """A copy of the vectors."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in ("embs.npy", "doclens.npy"):
            shutil.copyfile(data.folder / data.name / name, self._folder / name)

    def open(self) -> None:
        """Read them all as float32."""
        lengths = np.load(self._folder / "doclens.npy")
        vectors_TD = np.load(self._folder / "embs.npy").astype(np.float32)
        self._documents = np.split(vectors_TD, lengths.cumsum(dtype=np.int64)[:-1])

    def search(self, queries_BQD: np.ndarray, k: int) -> list[np.ndarray]:
        """Ids of each query."""
        return [_best(_scores(query, self._documents), k) for query in queries_BQD]

    def hold(self, documents: Sequence[np.ndarray]) -> None:
        """As float32."""
        self._held = [document.astype(np.float32) for document in documents]

    def rerank(self, query_QD: np.ndarray) -> np.ndarray:
        """MaxSim with every document that is held."""
        return _scores(query_QD, self._held)


def _scores(query_QD: np.ndarray, documents: list[np.ndarray]) -> np.ndarray:
    return np.asarray(maxsim_cpu.maxsim_scores_variable(query_QD, documents))


def _best(scores_N: np.ndarray, k: int) -> np.ndarray:
    best = np.argpartition(-scores_N, k)[:k]
    return best[np.argsort(-scores_N[best], kind="stable")]
