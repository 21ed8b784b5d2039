"""Quality, size and speed of every way to store vectors, in one table: bits, kept vectors, pooled rows.

    python -m benchmarks.codec_table [--set d5k] [--queries q32] [--only "4 bits"]     measures and prints the table
    python -m benchmarks.codec_table --untimed      bytes and recall only: the machine may be busy
    python -m benchmarks.codec_table --table        prints the table of the rows that are there

The vectors are those of benchmarks/search_data.py; rows go to benchmarks/results/codec.csv.  For every way: bytes for
each vector of the set (so that pooling counts as what it is), seconds of the cores for the build, recall against exact
float32 of a search of everything (exact) and of one as it comes (default), and milliseconds of a query.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_data import DataSet, home, read_queries, read_truth, recall
from benchmarks.search_rows import Birthplace, Row, append, birthplace, read, share, spread, spread_of_queries
from flmr import Index, SearchParams, __version__

KS = (10, 100)
SEARCHES = {"exact": True, "default": False}


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
    *(Preset(nbits, pool=pool) for nbits in (0, 2, 4) for pool in (2, 4)),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every preset that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home() / "data")
    parser.add_argument("--set", default="d5k")
    parser.add_argument("--queries", default="q32")
    parser.add_argument("--count", type=int, default=100, help="queries; default %(default)s")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of a timed search; default %(default)s")
    parser.add_argument("--only", help="presets whose name contains this")
    parser.add_argument("--untimed", action="store_true", help="leave out what depends on how busy the machine is")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/codec.csv"), help="rows; default %(default)s"
    )
    options = parser.parse_args(arguments)
    if not options.table:
        given = sys.argv[1:] if arguments is None else arguments
        place = birthplace(shlex.join(["python", "-m", "benchmarks.codec_table", *given]))
        for preset in PRESETS:
            if options.only is None or options.only in preset.name:
                measure(preset, DataSet.open(options.data, options.set), options, place)
    print(table(options.out, options.set, options.queries))


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
    asked = {"queries": options.queries, "num_queries": len(queries_BQD), "query_rows": queries_BQD.shape[1]}
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        with Index.create(
            Path(folder) / "ix",
            data.stream(),
            nbits=preset.nbits,
            keep_vectors=preset.keep_vectors,
            pool=preset.pool,
        ) as ix:
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if not options.untimed:
                append(options.out, place, Row("codec build wall", unit="s", **spread([wall]), **about))
                append(options.out, place, Row("codec build cpu", unit="s", **spread([cpu]), **about))
            size = ix.info()["bytes"] / data.num_vectors
            append(options.out, place, Row("codec size", unit="bytes a vector", **spread([size]), **about))
            for how, exact in SEARCHES.items():
                every = SearchParams(exact=exact, threads=options.threads)
                for k in KS:
                    found = [[int(hit.id) for hit in hits] for hits in ix.search(list(queries_BQD), k, params=every)]
                    append(
                        options.out,
                        place,
                        Row(f"codec recall {how}", k=k, **share(recall(found, truth_BK, k)), **asked, **about),
                    )
                    if not options.untimed:
                        times = search(ix, queries_BQD, k, every, options.repeats)
                        append(options.out, place, Row(f"codec search {how}", k=k, **times, **asked, **about))


def search(ix: Index, queries_BQD: np.ndarray, k: int, params: SearchParams, repeats: int) -> dict[str, Any]:
    """The columns of milliseconds a query: of the clock, and of the cores."""
    searcher = ix.searcher()
    times: list[list[float]] = []
    cpu_ms: list[float] = []
    for _ in range(repeats):
        times.append([])
        cpu = time.process_time()
        for query_QD in queries_BQD:
            began = time.perf_counter()
            searcher.search(query_QD, k, params=params, passages=False)
            times[-1].append((time.perf_counter() - began) * 1e3)
        cpu_ms.append((time.process_time() - cpu) * 1e3 / len(queries_BQD))
    return {**spread_of_queries(times), "cpu_ms": round(statistics.median(cpu_ms), 3)}


def table(rows: Path, set_name: str, queries: str) -> str:
    """The newest rows of a set as a table in Markdown; a figure that was not measured is left empty."""
    found: dict[tuple[str, str, str], float] = {}
    for row in read(rows):
        if row["set"] == set_name and row["queries"] in ("", queries):
            found[row["setting"], row["work"], row["k"]] = float(row["median"])
    columns = {
        "bytes a vector": ("codec size", "", ".1f"),
        "build, core s": ("codec build cpu", "", ".1f"),
        **{f"recall@{k}, {how}": (f"codec recall {how}", str(k), ".3f") for k in KS for how in SEARCHES},
        **{f"ms, k={k}, {how}": (f"codec search {how}", str(k), ".1f") for k in KS for how in SEARCHES},
    }
    lines = [f"| {set_name}, {queries} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for preset in PRESETS:
        cells = []
        for work, k, digits in columns.values():
            value = found.get((preset.name, work, k))
            cells.append("" if value is None else format(value, digits))
        lines.append(f"| {preset.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
