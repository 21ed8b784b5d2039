"""Quality, size and speed of every way to store vectors, in one table: bits, kept vectors, pooled rows.

    python -m benchmarks.codec_table --data DATA --set d5k --queries q32 [--out rows.csv]

DATA is laid out as benchmarks/search_data.py says.  Every way gives three rows: bytes for each vector of the set (so
that pooling counts as what it is), seconds of the build, and milliseconds of a query with its recall against exact
float32: a search of everything (exact) and one as it comes (default).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.search_data import DataSet, read_queries, read_truth, recall
from benchmarks.search_rows import Birthplace, Row, append, birthplace, spread, spread_of_queries
from flmr import Index, SearchParams, __version__


@dataclass(frozen=True)
class Preset:
    """One way to store vectors."""

    nbits: int
    keep_vectors: bool = False
    pool: int = 1

    @property
    def name(self) -> str:
        """Such as "2 bits, kept" or "4 bits, pool 2"."""
        parts = ["float16" if self.nbits == 0 else f"{self.nbits} bit" + "s" * (self.nbits > 1)]
        return ", ".join(parts + ["kept"] * self.keep_vectors + [f"pool {self.pool}"] * (self.pool > 1))


PRESETS = (
    *(Preset(nbits) for nbits in (0, 1, 2, 3, 4, 8)),
    *(Preset(nbits, keep_vectors=True) for nbits in (1, 2, 4)),
    *(Preset(nbits, pool=pool) for nbits in (2, 4) for pool in (2, 4)),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every preset that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "flmr-bench" / "data")
    parser.add_argument("--set", default="d5k")
    parser.add_argument("--queries", default="q32")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="presets whose name contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    place = birthplace(shlex.join(["python", "-m", "benchmarks.codec_table", *(arguments or sys.argv[1:])]))
    for preset in PRESETS:
        if options.only is None or options.only in preset.name:
            measure(preset, DataSet.open(options.data, options.set), options, place)


def measure(preset: Preset, data: DataSet, options: argparse.Namespace, place: Birthplace) -> None:
    """Build one index and search it."""
    about = {
        "engine": "flmr",
        "version": __version__,
        "set": data.name,
        "documents": data.documents,
        "vectors": data.num_vectors,
        "threads": options.threads,
        "setting": preset.name,
    }
    queries_BQD = read_queries(options.data, options.queries, 0, options.count)
    truth_BK = read_truth(options.data, data.name, options.queries)[: options.count]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ix = Index.create(
            Path(folder) / "ix",
            data.stream(),
            nbits=preset.nbits,
            keep_vectors=preset.keep_vectors,
            pool=preset.pool,
        )
        with ix:
            built = time.perf_counter() - began
            append(options.out, place, Row("codec build", unit="s", **spread([built]), **about))
            size = ix.info()["bytes"] / data.num_vectors
            append(options.out, place, Row("codec size", unit="bytes a vector", **spread([size]), **about))
            for exact in (True, False):
                for k in (10, 100):
                    params = SearchParams(exact=exact, threads=options.threads)
                    repeats, share = search(ix, queries_BQD, truth_BK, k, params, options.repeats)
                    row = Row(
                        "codec exact" if exact else "codec default",
                        queries=options.queries,
                        num_queries=len(queries_BQD),
                        query_rows=queries_BQD.shape[1],
                        k=k,
                        recall=share,
                        **spread_of_queries(repeats),
                        **about,
                    )
                    append(options.out, place, row)


def search(
    ix: Index, queries_BQD: np.ndarray, truth_BK: np.ndarray, k: int, params: SearchParams, repeats: int
) -> tuple[list[list[float]], float]:
    """Milliseconds of every query, a list a repeat, and the recall."""
    searcher = ix.searcher()
    times: list[list[float]] = []
    found: list[list[int]] = []
    for _ in range(repeats):
        times.append([])
        found = []
        for query_QD in queries_BQD:
            began = time.perf_counter()
            hits = searcher.search(query_QD, k, params=params, passages=False)[0]
            times[-1].append((time.perf_counter() - began) * 1e3)
            found.append([int(hit.id) for hit in hits])
    return times, recall(found, truth_BK, k)


if __name__ == "__main__":
    main()
