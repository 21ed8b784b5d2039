"""Search, ours and others', on the same vectors in one run: latency beside recall, batches, builds, opens, updates.

    python -m benchmarks.bench_search --sets d5k --threads 1,2 --settings all
    python -m benchmarks.bench_search --quick

Every engine has a process of its own, alive for the whole of a measurement; each repetition asks them in turn, so that
all of them see the same minutes of the machine.  Each figure is the median of the repetitions with the least and the
most, written as a row of benchmarks/results/search.csv.  An engine that is not installed is skipped with the reason.
benchmarks/README.md says how to make the vectors and the environments.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.search_data import DataSet, home, write_synthetic
from benchmarks.search_latency import measure_search
from benchmarks.search_measures import is_built, measure_open, measure_rerank, measure_update
from benchmarks.search_report import draw
from benchmarks.search_rows import birthplace
from benchmarks.search_run import Bench
from benchmarks.search_workers import ENGINES, ROOT

RESULTS = ROOT / "benchmarks" / "results" / "search.csv"
FIGURE = ROOT / "docs" / "figures" / "search.png"
WORKS = ("build", "open", "search", "batch", "update", "rerank")
QUERIES = {"q32": 50, "q320": 20}  # how many of each are asked
QUICK_ENGINES = ("flmr 2-bit", "flmr 4-bit", "flmr 8-bit", "flmr 4-bit + sample")
QUICK_WORKS = ("build", "open", "search", "batch", "update")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, then draw."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        bench = _bench(options, Path(scratch))
        if options.quick:
            write_synthetic(bench.data, "quick", options.documents, bench.queries["q32"])
        for name in ["quick"] if options.quick else options.sets:
            try:
                data = DataSet.open(bench.data, name)
            except FileNotFoundError:
                print(f"{name} is not in {bench.data}: benchmarks/README.md says how to make it")
                continue
            measure(bench, data, QUICK_WORKS if options.quick else options.works)
    if bench.out == RESULTS and RESULTS.exists():
        draw(RESULTS, FIGURE)


def measure(bench: Bench, data: DataSet, works: Sequence[str]) -> None:
    """All that was asked for, of one set.  Builds, opens and updates run on the most threads that were named."""
    most = max(bench.threads)
    present = [engine for engine in bench.engines if is_built(bench, engine, data, most, again="build" in works)]
    bench = replace(bench, engines=tuple(present))
    if "open" in works:
        measure_open(bench, data, most)
    for threads in bench.threads:
        if {"search", "batch"} & set(works):
            measure_search(bench, data, threads, works)
        if "rerank" in works:
            measure_rerank(bench, data, threads)
    if "update" in works:
        measure_update(bench, data, most)


def _bench(options: argparse.Namespace, scratch: Path) -> Bench:
    """The run that the command line asks for; a quick one keeps everything in the scratch folder."""
    quick = options.quick
    return Bench(
        data=scratch / "data" if quick else options.data,
        work=scratch / "work" if quick else options.work,
        environments=options.environments,
        out=options.out if options.out or quick else RESULTS,
        place=birthplace(f"python -m benchmarks.bench_search {shlex.join(sys.argv[1:])}"),
        engines=tuple(ENGINES[name] for name in options.engines or (QUICK_ENGINES if quick else ENGINES)),
        queries={name: options.num_queries or QUERIES[name] for name in (["q32"] if quick else options.queries)},
        ks=tuple(int(k) for k in options.ks),
        threads=tuple(int(count) for count in options.threads),
        settings=options.settings,
        repeats=options.repeats or (3 if quick else 5),
        slowest_s=options.slowest_s,
        budget_s=options.budget_s,
        build_s=options.build_s,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ours only, on made-up vectors; under a minute, no rows")
    parser.add_argument("--documents", type=int, default=5000, help="of a quick run")
    parser.add_argument("--sets", type=_names, default=["d5k"], help="d5k, d16k, d100k, d1m")
    parser.add_argument("--engines", type=_names, help=f"default all: {', '.join(ENGINES)}")
    parser.add_argument("--works", type=_names, default=list(WORKS), help=f"default {','.join(WORKS)}")
    parser.add_argument("--queries", type=_names, default=list(QUERIES))
    parser.add_argument("--num-queries", type=int, help=f"of each; default {QUERIES}; four times as many in a batch")
    parser.add_argument("--ks", type=_names, default=["10", "100"])
    parser.add_argument("--threads", type=_names, default=["1", "2"])
    parser.add_argument(
        "--settings",
        choices=["only", "exact", "all"],
        default="exact",
        help="only the default, with an exact search of ours beside it (default), or all, for the curves",
    )
    parser.add_argument("--repeats", type=int, help="default 5, quick 3")
    parser.add_argument("--slowest-s", type=float, default=5.0, help="leave out what takes longer for one query")
    parser.add_argument("--budget-s", type=float, default=15.0, help="for the repeats of one engine at one setting")
    parser.add_argument("--build-s", type=float, default=1800.0, help="leave out what takes longer to build")
    parser.add_argument("--data", type=Path, default=home() / "data", help="default %(default)s")
    parser.add_argument("--work", type=Path, default=home() / "indexes", help="indexes; default %(default)s")
    parser.add_argument("--environments", type=Path, default=home() / "envs", help="default %(default)s")
    parser.add_argument("--out", type=Path, help=f"rows; default {RESULTS.relative_to(ROOT)}, quick: none")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    main()
