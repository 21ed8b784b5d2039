"""Memory and seconds of a training step: our MaxSim loss, the plain formula and PyLate's contrastive loss, in one run.

    python -m benchmarks.bench_train [--batches 32,64,128,256,512] [--query-rows 32] [--python PYLATE/bin/python] ...
    python -m benchmarks.bench_train --table        # the newest rows as Markdown

Every batch has one further passage a question; scores are those of all questions with all passages.  There is a process
for each loss; in every repeat they take their step in turn, another one first each time.  A row holds the medians of
the repeats, the processor's seconds (all threads) beside the clock's: the fairer ones on a busy machine.  Losses and
lengths of gradients must agree, else nothing is written.  One thread by default.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.search_rows import Birthplace, birthplace
from benchmarks.search_workers import ROOT, THREAD_VARIABLES

RESULTS = ROOT / "benchmarks" / "results" / "train.csv"
PYLATE = Path("~/.cache/flmr-bench/envs/pylate/bin/python").expanduser()
NAMES = {"flmr": "ours", "plain": "plain formula", "pylate": "PyLate"}
AGREE = 1e-3  # float32 sums in another order; measured: 2e-6


@dataclass(frozen=True)
class Row:
    """One loss at one batch; peak_mb above the rows and their gradients.  Empty figures where it did not fit."""

    loss: str
    version: str
    batch: int
    passages: int
    query_rows: int
    document_rows: int
    dim: int
    threads: int
    limit_gb: float
    repeats: int
    wall_s: float | str
    cpu_s: float | str
    peak_mb: float | str
    note: str
    load: float


COLUMNS = [entry.name for kind in (Birthplace, Row) for entry in fields(kind)]


class Steps:
    """A process that takes steps of one loss."""

    def __init__(self, python: Path, path: str, threads: int, limit_gb: float) -> None:
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", "benchmarks.train_steps", path, str(threads), str(limit_gb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **limits, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        )
        self.path = path
        about = self._answer()
        if "error" in about:
            raise SystemExit(f"{python} cannot run {NAMES[path]}: {about['error']}")
        self.version: str = about["version"]

    def take(self, **sizes: int) -> dict[str, Any]:
        """One step."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(sizes) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process and wait for its end."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:  # the system's own way of saying that memory is out
            raise SystemExit(f"the process of {NAMES[self.path]} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(workers: Sequence[Steps], sizes: dict[str, int], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """The steps of every worker, taken in turn; raises SystemExit where losses or gradients disagree."""
    taken: dict[str, list[dict[str, Any]]] = {worker.path: [] for worker in workers}
    for repeat in range(repeats):
        first = repeat % len(workers)
        for worker in (*workers[first:], *workers[:first]):
            if not any("did_not_fit" in step for step in taken[worker.path]):
                taken[worker.path].append(worker.take(**sizes))
    found = {path: [s["loss"], *s["gradient"]] for path, (*_, s) in taken.items() if "loss" in s}
    for path, values in found.items():
        for value, other in zip(values, next(iter(found.values())), strict=True):
            if abs(value - other) > AGREE * abs(other):
                raise SystemExit(f"the losses do not agree at {sizes}: {NAMES[path]} has {found}")
    return taken


def table(path: Path) -> str:
    """The newest row of each loss and batch, a line a batch, with the ratio to ours."""
    newest: dict[tuple[str, ...], dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            newest[tuple(row[key] for key in ("query_rows", "document_rows", "batch", "loss"))] = row
    lines = [
        "| rows of a question | B | passages | " + " | ".join(f"{name}: MB | s" for name in NAMES.values()) + " |",
        "|---|---|---|" + "---|---|" * len(NAMES),
    ]
    for shape in sorted({key[:3] for key in newest}, key=lambda key: tuple(map(int, key))):
        ours = newest[(*shape, "flmr")]
        cells = []
        for loss in NAMES:
            row = newest.get((*shape, loss))
            if row is None or not row["cpu_s"]:
                cells.append("not run |" if row is None else "did not fit |")
                continue
            ratios = ["" if loss == "flmr" else f" ({_ratio(row, ours, key)} x)" for key in ("peak_mb", "cpu_s")]
            cells.append(f"{float(row['peak_mb']):,.0f}{ratios[0]} | {float(row['cpu_s']):,.2f}{ratios[1]}")
        lines.append(f"| {shape[0]} | {shape[2]} | {ours['passages']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(row: dict[str, str], ours: dict[str, str], key: str) -> str:
    return f"{float(row[key]) / float(ours[key]):.1f}"


def main() -> None:
    """Measure, print and write a row a loss and batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", default="32,64,128,256,512")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--query-rows", type=int, default=32)
    parser.add_argument("--document-rows", type=int, default=128)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit-gb", type=float, default=8.0, help="of memory that a process may hold")
    parser.add_argument("--losses", default=",".join(NAMES))
    parser.add_argument(
        "--python", type=Path, default=PYLATE, help="an interpreter that has PyLate; all losses run in it"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the rows of --out and measure nothing")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(table(options.out) + "\n")
        return
    if not options.python.exists():
        raise SystemExit(
            f"{options.python} is not there; benchmarks/README.md says how to make it (--python, --losses)"
        )
    place = birthplace(f"python -m benchmarks.bench_train {shlex.join(sys.argv[1:])}".rstrip())
    workers: list[Steps] = []
    try:
        for path in options.losses.split(","):
            workers.append(Steps(options.python, path, options.threads, options.limit_gb))
        for batch in map(int, options.batches.split(",")):
            rows = {"query_rows": options.query_rows, "document_rows": options.document_rows, "dim": options.dim}
            sizes = {"batch": batch, "negatives": options.negatives, **rows}
            taken = measure(workers, sizes, options.repeats)
            for worker in workers:
                write(options.out, place, row_of(worker, taken[worker.path], sizes, options))
    finally:
        for worker in workers:
            worker.end()


def row_of(worker: Steps, steps: Sequence[dict[str, Any]], sizes: dict[str, int], options: argparse.Namespace) -> Row:
    """The medians of a loss's steps."""
    fits = not any("did_not_fit" in step for step in steps)
    figures = {
        name: round(statistics.median(step[name] for step in steps), 4) if fits else ""
        for name in ("wall_s", "cpu_s", "peak_mb")
    }
    return Row(
        loss=worker.path,
        version=worker.version,
        batch=sizes["batch"],
        passages=sizes["batch"] * (1 + sizes["negatives"]),
        query_rows=sizes["query_rows"],
        document_rows=sizes["document_rows"],
        dim=sizes["dim"],
        threads=options.threads,
        limit_gb=options.limit_gb,
        repeats=len(steps),
        **figures,
        note="" if fits else "did not fit",
        load=round(os.getloadavg()[0], 1),
    )


def write(path: Path, place: Birthplace, row: Row) -> None:
    """Print the row and put it after those that are in the file."""
    sys.stdout.write(f"{NAMES[row.loss]}, {row.batch}: {row.note or f'{row.peak_mb} MB, {row.cpu_s} s'}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({**asdict(place), **asdict(row)})


if __name__ == "__main__":
    main()
