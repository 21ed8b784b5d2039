"""What was aimed at and what was measured, side by side, from the rows.

    python -m benchmarks.search_targets

One line a target: the least and most of its rows, whether it is met, and by how much it is missed.  Knows
benchmarks/results/search.csv; measures nothing.  A target that has no row says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search_rows import read
from benchmarks.search_workers import OURS, ROOT

Record = Mapping[str, str]


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
    Target("exact scores of 1,000, 32 rows", "flmr float16", "d5k", "rerank 1000", 2.5, 1, queries="q32"),
    Target("exact scores of 1,000, 320 rows", "flmr float16", "d5k", "rerank 1000", 18, 1, queries="q320"),
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
    """Markdown: target, figure with least and most, recall, the quickest of the others, met or missed by how much."""
    lines = ["| set | what | target | measured | others, least | |", "|---|---|---|---|---|---|"]
    for target in TARGETS:
        least = target.work == "batch"
        asked = f"{'>=' if least else '<='} {target.limit:g}{_recalled(target.recall)}"
        what = f"{target.what}, {target.threads}t"
        row = _newest(rows, target.asked)
        if row is None:
            lines.append(f"| {target.set} | {what} | {asked} | not measured | | |")
            continue
        scale = _index_mb(rows, target) if target.work == "search resident" else 1.0
        figure, low, high = (float(row[name]) / scale for name in ("median", "least", "most"))
        found = float(row[target.column]) if target.recall is not None and row[target.column] else None
        unit = "of the index" if target.work == "search resident" else row["unit"]
        measured = f"{figure:.3g} {unit} ({low:.3g} to {high:.3g}){_recalled(found, ' at ')}"
        lines.append(
            f"| {target.set} | {what} | {asked} | {measured} | {_others(rows, target)} "
            f"| {_verdict(target, figure, found)} |"
        )
    return "\n".join(lines)


def _verdict(target: Target, figure: float, found: float | None) -> str:
    ratio = target.limit / figure if target.work == "batch" else figure / target.limit
    missed = [f"{ratio:.2f} times the limit"] if ratio > 1 and target.work != "batch" else []
    missed += [f"{1 / ratio:.2f} of the rate"] if ratio > 1 and target.work == "batch" else []
    if target.recall is not None and (found is None or found < target.recall):
        missed.append("recall not measured" if found is None else f"recall {target.recall - found:.3f} short")
    return "met" if not missed else "**missed**: " + ", ".join(missed)


def _others(rows: Sequence[Record], target: Target) -> str:
    """The best figure of another engine in the same kind of row, with its recall."""
    asked = {name: value for name, value in target.asked.items() if name != "engine"}
    best = max if target.work == "batch" else min
    own = [row for row in rows if row["engine"] not in OURS and all(row[name] == asked[name] for name in asked)]
    if not own or target.work == "search resident":
        return ""
    row = best(own, key=lambda row: float(row["median"]))
    recalled = _recalled(float(row["recall"]) if row["recall"] else None, " at ")
    return f"{row['engine']} {float(row['median']):.3g}{recalled}"


def _newest(rows: Sequence[Record], asked: Mapping[str, str]) -> Record | None:
    return next((row for row in rows if all(row[name] == value for name, value in asked.items())), None)


def _index_mb(rows: Sequence[Record], target: Target) -> float:
    row = _newest(rows, {"engine": target.engine, "set": target.set, "work": "size"})
    return float(row["median"]) * float(row["vectors"]) / 1e6 if row else float("nan")


def _recalled(value: float | None, before: str = " at >= ") -> str:
    return "" if value is None else f"{before}{value:.3f}".replace(" 0.", " .")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROOT / "benchmarks" / "results" / "search.csv")
    print(table(read(parser.parse_args().rows)))


if __name__ == "__main__":
    main()
