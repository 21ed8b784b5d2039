"""What was aimed at and what was measured, side by side, from the rows.

    python -m benchmarks.search_targets

One line a target: median, least and most of its row, whether it is met, and by how much it is missed.  Knows
benchmarks/results/search.csv; measures nothing.  A target that has no row says so.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search_workers import OURS, ROOT

Record = Mapping[str, str]

SAMPLED = " + sample"
INDEXED = ("colbert-ai 2-bit", "fast-plaid 4-bit", "xtr-warp-rs 4-bit", "mean HNSW + rerank")


@dataclass(frozen=True)
class Target:
    """One figure of one row.  limit: the largest that is allowed, or for `batch` the least; recall: the least."""

    what: str
    engine: str
    set: str
    work: str
    limit: float
    threads: int
    recall: float | None = None
    column: str = "recall"
    queries: str = ""
    k: int | str = ""

    @property
    def asked(self) -> dict[str, str]:
        """What the row must say."""
        setting = "default" if self.work in ("search", "batch") else ""
        names = ("engine", "set", "work", "queries")
        own = {name: getattr(self, name) for name in names} | {"setting": setting}
        return own | {"k": str(self.k), "threads": str(self.threads)}


def _search(bits: int, limit: float, recall: float, k: int = 10, queries: str = "q32", name: str = "d5k") -> Target:
    what = f"{bits}-bit, {queries[1:]} rows, k={k}"
    return Target(what, f"flmr {bits}-bit", name, "search", limit, 1, recall, queries=queries, k=k)


TARGETS = (
    _search(4, 2, 0.94),
    _search(2, 1.5, 0.80),
    _search(8, 4, 0.99),
    _search(4, 3, 0.94, k=100),
    _search(4, 12, 0.97, queries="q320"),
    Target("4-bit, a batch, 32 rows, k=10", "flmr 4-bit", "d5k", "batch", 1500, 2, queries="q32", k=10),
    Target("build, clock", "flmr 4-bit", "d5k", "build wall", 10, 2),
    Target("build, memory", "flmr 4-bit", "d5k", "build peak", 600, 2),
    Target("2-bit", "flmr 2-bit", "d5k", "size", 37, 2),
    Target("4-bit", "flmr 4-bit", "d5k", "size", 69, 2),
    Target("cold open", "flmr 4-bit", "d5k", "open", 0.05, 2),
    Target("resident after it", "flmr 4-bit", "d5k", "open resident", 60, 2),
    Target("add 200 until found", "flmr 4-bit", "d5k", "add 200", 0.1, 2),
    Target("delete 200", "flmr 4-bit", "d5k", "delete 200", 0.02, 2),
    Target("exact scores of 1,000, 32 rows", "flmr bfloat16", "d5k", "rerank 1000", 2.5, 1, queries="q32"),
    Target("exact scores of 1,000, 320 rows", "flmr bfloat16", "d5k", "rerank 1000", 18, 1, queries="q320"),
    _search(4, 3, 0.93, name="d16k"),
    _search(4, 3, 0.93, k=100, name="d16k"),
    Target("build, clock", "flmr 4-bit", "d16k", "build wall", 40, 2),
    Target("build, memory", "flmr 4-bit", "d16k", "build peak", 1000, 2),
    _search(4, 8, 0.93, name="d100k"),
    Target("4-bit, 32 rows, k=10", "flmr 4-bit", "d1m", "search", 25, 2, 0.95, "of_exact", queries="q32", k=10),
    Target("4-bit, 320 rows, k=10", "flmr 4-bit", "d1m", "search", 150, 2, 0.95, "of_exact", queries="q320", k=10),
    Target("resident after searching, share of the index", "flmr 4-bit", "d1m", "search resident", 0.25, 2),
)


def table(rows: Sequence[Record]) -> str:
    """Markdown: target, figures of an index made of vectors alone and of one shown a sample, the best of the others."""
    lines = [
        "| set | what | target | vectors alone | with sample queries | others, quickest or least |",
        "|---" * 6 + "|",
    ]
    for target in TARGETS:
        asked = f"{'>=' if target.work == 'batch' else '<='} {target.limit:g}{_recalled(target.recall, ' at >= ')}"
        cells = [_cell(rows, target, target.engine), _cell(rows, target, target.engine + SAMPLED)]
        what = f"{target.what}, {target.threads}t"
        lines.append(f"| {target.set} | {what} | {asked} | {' | '.join(cells)} | {_others(rows, target)} |")
    return "\n".join(lines)


def _cell(rows: Sequence[Record], target: Target, engine: str) -> str:
    """A figure with its least and most and its recall, and whether it is met or by how much it is missed."""
    row = _newest(rows, {**target.asked, "engine": engine})
    if row is None:
        return "not measured" if engine == target.engine else ""
    scale, unit = 1.0, row["unit"]
    if target.work == "search resident":
        scale, unit = _index_mb(rows, target, engine), "of the index"
    figure, low, high = (float(row[name]) / scale for name in ("median", "least", "most"))
    recalled = _newest(rows, {**target.asked, "engine": engine}, having=target.column)
    found = float(recalled[target.column]) if target.recall is not None and recalled is not None else None
    return f"{figure:.3g} {unit} ({low:.3g} to {high:.3g}){_recalled(found)}: {_verdict(target, figure, found)}"


def _verdict(target: Target, figure: float, found: float | None) -> str:
    missed = []
    if target.work == "batch" and figure < target.limit:
        missed.append(f"{figure / target.limit:.2f} of the rate")
    elif target.work != "batch" and figure > target.limit:
        missed.append(f"{figure / target.limit:.2f} times the limit")
    if target.recall is not None and found is None:
        missed.append("recall not measured")
    elif target.recall is not None and found is not None and found < target.recall:
        missed.append(f"recall {target.recall - found:.3f} short")
    return "**missed**, " + ", ".join(missed) if missed else "met"


def _others(rows: Sequence[Record], target: Target) -> str:
    """The best figure of another engine that has an index in the same kind of row, with its recall."""
    asked = {name: value for name, value in target.asked.items() if name != "engine"}
    best = max if target.work == "batch" else min
    able = [row for row in rows if row["engine"] in INDEXED or target.work.startswith("rerank")]
    newest = {row["engine"]: row for row in able if all(row[name] == asked[name] for name in asked)}
    own = [row for engine, row in newest.items() if engine not in OURS]
    if not own or target.work == "search resident":
        return ""
    row = best(own, key=lambda row: float(row["median"]))
    recalled = _recalled(float(row["recall"]) if row["recall"] else None)
    return f"{row['engine']} {float(row['median']):.3g}{recalled}"


def _newest(rows: Sequence[Record], asked: Mapping[str, str], having: str = "median") -> Record | None:
    """The last row of a kind that has a figure in a column: what is slow exactly is not compared with it every time."""
    own = (row for row in reversed(rows) if all(row[name] == value for name, value in asked.items()))
    return next((row for row in own if row.get(having)), None)


def _index_mb(rows: Sequence[Record], target: Target, engine: str) -> float:
    row = _newest(rows, {"engine": engine, "set": target.set, "work": "open size"})
    assert row is not None  # written with `search resident`
    return float(row["median"])


def _recalled(value: float | None, before: str = " at ") -> str:
    return "" if value is None else f"{before}{value:.3f}".replace(" 0.", " .")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROOT / "benchmarks" / "results" / "search.csv")
    with parser.parse_args().rows.open(encoding="utf-8", newline="") as file:
        print(table(list(csv.DictReader(file))))


if __name__ == "__main__":
    main()
