"""Rows of results: what was measured, on what, by which commit, machine and command.

Knows the columns of results/*.csv.  Knows no engine.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from flmr.evaluate.result import find_commit
from flmr.ops import native


@dataclass(frozen=True)
class Row:
    """One figure: the median of the repeats with the least and the largest.

    load: the machine's load average when it was measured.  recall: at k, against exact float32; of_exact: against the
    engine's own exact search of what it stores.  error: largest absolute difference of a score from float64.  p95,
    cpu_ms: of one query.  Empty where there is no such thing.
    """

    work: str
    engine: str
    version: str
    set: str
    documents: int
    vectors: int
    threads: int
    repeats: int
    unit: str
    median: float
    least: float
    most: float
    setting: str = ""
    parameters: str = ""
    queries: str = ""
    num_queries: int | str = ""
    query_rows: int | str = ""
    k: int | str = ""
    recall: float | str = ""
    of_exact: float | str = ""
    p95: float | str = ""
    cpu_ms: float | str = ""
    error: float | str = ""
    note: str = ""
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))


@dataclass(frozen=True)
class Birthplace:
    """Where and when the figures come to be."""

    date: str
    commit: str
    machine: str
    command: str


COLUMNS = [entry.name for kind in (Birthplace, Row) for entry in fields(kind)]


def birthplace(command: str) -> Birthplace:
    """Now, this commit, this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    machine = f"{cpu}, {cores} cores, {memory_gb:.0f} GB, {platform.system()}, {native.isa(None)}"
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Birthplace(date, find_commit(), machine, command)


def digits(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The columns of repeated figures."""
    return {
        "repeats": len(values),
        "median": digits(statistics.median(values)),
        "least": digits(min(values)),
        "most": digits(max(values)),
    }


def spread_of_queries(repeats: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The columns of repeated lists of milliseconds: of the medians over the queries, and the median of the p95."""
    tails = [float(np.percentile(ms, 95)) for ms in repeats]
    return {"unit": "ms", **spread([statistics.median(ms) for ms in repeats]), "p95": digits(statistics.median(tails))}


def share(value: float) -> dict[str, Any]:
    """The columns of a recall that stands without a time."""
    value = round(value, 4)
    return {"unit": "share", "repeats": 1, "median": value, "least": value, "most": value, "recall": value}


def append(path: Path | None, place: Birthplace, row: Row) -> None:
    """Print the row and, where a file is named, write it after those that are there."""
    print(describe(row), flush=True)
    write_row(path, COLUMNS, {**asdict(place), **asdict(row)})


def write_row(path: Path | None, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Write a row after those that are in the file, if one is named, at once: what comes later may be killed."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or not path.stat().st_size
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def read(path: Path) -> list[dict[str, str]]:
    """The newest row of each kind, oldest kind first."""
    same = ("work", "engine", "set", "threads", "setting", "queries", "k")
    newest: dict[tuple[str, ...], dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            newest[tuple(row[name] for name in same)] = row
    return list(newest.values())


def parameters_text(parameters: dict[str, Any]) -> str:
    """As JSON, in order of their names; empty where there are none."""
    return json.dumps(parameters, sort_keys=True) if parameters else ""


def describe(row: Row) -> str:
    """One line for the terminal."""
    where = f"{row.set} {row.threads} thread{'s' if row.threads > 1 else ''}"
    how = " ".join(str(part) for part in (row.setting, row.queries, f"k={row.k}" if row.k else "") if part)
    figure = f"{row.median:g} {row.unit} [{row.least:g} {row.most:g}]"
    recalled = f" recall {row.recall:.3f}" if row.recall != "" else ""
    recalled += f" of exact {row.of_exact:.3f}" if row.of_exact != "" else ""
    error = f" error {row.error:.2g}" if row.error != "" else ""
    return f"{where:16} {row.work:14} {row.engine:22} {how:34} {figure}{recalled}{error} {row.note}".rstrip()
