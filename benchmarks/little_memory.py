"""Searching an index that is larger than the memory: in a control group of a share of its size and in none, each from a
cold page cache.

    PYTHONPATH=tests python -m benchmarks.little_memory INDEX [--share 0.25] [--queries q32] [--exact 2]

Memory is everything that the group is charged for: the process and the pages of files that it has read.  Needs Linux
and the right to make a memory control group (version 1 or 2), so usually root.  Rows go to
benchmarks/results/scale.csv.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from reliability.cgroup import Cgroup, NoCgroup

from benchmarks.search_data import home, read_queries
from benchmarks.search_measures import forget
from benchmarks.search_rows import Row, append, birthplace, spread, spread_of_queries
from flmr import __version__
from flmr.index import Index, SearchParams

NUM_QUERIES = 50


def work(index: Path, data: Path, queries: str, exact: int, threads: int) -> None:
    """What the limited process does: search, then score everything; prints what it found and how long it took."""
    rows_BQD = read_queries(data, queries, 0, NUM_QUERIES).astype(np.float32)
    searcher = Index.open(index).searcher()
    answers: dict[str, list[list[str]]] = {"default": [], "exact": []}
    seconds: dict[str, list[float]] = {"default": [], "exact": []}
    for setting, count in (("default", len(rows_BQD)), ("exact", exact)):
        params = SearchParams(exact=setting == "exact", threads=threads)
        for query_QD in rows_BQD[:count]:
            start = time.perf_counter()
            hits = searcher.search([query_QD], 10, params=params, passages=False)[0]
            seconds[setting].append(time.perf_counter() - start)
            answers[setting].append([hit.id for hit in hits])
    print(json.dumps({"seconds": seconds, "answers": answers}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--data", type=Path, default=home() / "data")
    parser.add_argument("--share", type=float, default=0.25, help="of the index's bytes; default %(default)s")
    parser.add_argument("--queries", default="q32")
    parser.add_argument("--exact", type=int, default=2, help="how many are scored exactly, too; default %(default)s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.csv"), help="default %(default)s")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.index, given.data, given.queries, given.exact, given.threads)
        return
    with Index.open(given.index) as ix:
        info = ix.info()
    command = [sys.executable, "-m", "benchmarks.little_memory", *sys.argv[1:], "--work"]
    forget(given.index)
    free = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    forget(given.index)
    try:
        cgroup = Cgroup(int(given.share * info["bytes"]))
    except NoCgroup as error:
        sys.exit(str(error))
    try:
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=cgroup.enter)
        peak = cgroup.peak() / 1e6
    finally:
        cgroup.close()
    if done.returncode:
        sys.exit(f"the limited process ended with {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)
    if found["answers"] != free["answers"]:
        sys.exit("the limited process found something else than one that is not limited")
    arguments = [given.index.name if part == str(given.index) else part for part in sys.argv[1:]]
    place = birthplace(shlex.join(["python", "-m", "benchmarks.little_memory", *arguments]))
    facts = {
        "engine": "flmr", "version": __version__, "set": given.index.name, "documents": info["items"],
        "vectors": info["vectors"], "threads": given.threads, "queries": given.queries,
        "note": f"index of {info['bytes'] / 1e6:,.0f} MB, answers as without a limit",
    }  # fmt: skip
    for name, answers in (("a quarter" if given.share == 0.25 else f"{given.share:g}", found), ("no limit", free)):
        for setting, seconds in answers["seconds"].items():
            if seconds:
                ms = [1e3 * second for second in seconds]
                row = {**facts, "num_queries": len(ms), "k": 10, "setting": f"{setting}, memory: {name}"}
                append(given.out, place, Row(work="search", **row, **spread_of_queries([ms])))
    append(given.out, place, Row(work="peak memory", unit="MB", **facts, **spread([peak])))


if __name__ == "__main__":
    main()
