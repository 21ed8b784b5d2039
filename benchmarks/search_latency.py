"""Latency with recall, and batches: every engine at every setting, asked in turn.

Knows the engines as processes that answer.  Knows nothing of builds or of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search_data import DataSet, has_truth, read_queries, read_truth, recall
from benchmarks.search_rows import parameters_text, spread, spread_of_queries
from benchmarks.search_run import Bench, leave_out
from benchmarks.search_workers import OURS, EngineFailed, EngineProcess

WARM = 3
SLOW_S = 0.5  # a query that takes as long needs no warming beyond the one that showed it
BATCH_FACTOR = 4  # so many times the queries that are asked one by one


@dataclass(frozen=True)
class Cell:
    """One engine at one setting on one lot of queries."""

    process: EngineProcess
    setting: str
    parameters: dict[str, Any]
    data: DataSet
    queries: str
    query_rows: int
    truth_BK: np.ndarray | None
    k: int

    def ask(self, do: str, count: int, timeout_s: float, **more: Any) -> dict[str, Any]:
        """The first `count` queries."""
        which = {"queries": self.queries, "first": 0, "count": count, "k": self.k, "parameters": self.parameters}
        return self.process.ask(do, timeout_s=timeout_s, **which, **more)

    def leave(self, failure: EngineFailed) -> None:
        """Say why there is no row."""
        what = f"{self.setting}, {self.queries}, k={self.k}, {self.process.threads} threads"
        leave_out(self.data, self.process.engine, what, failure)

    def facts(self, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The columns that tell this cell from others, and its recall."""
        return {
            "setting": self.setting,
            "parameters": parameters_text(self.parameters),
            "queries": self.queries,
            "num_queries": len(ids),
            "query_rows": self.query_rows,
            "k": self.k,
            "recall": "" if self.truth_BK is None else round(recall(ids, self.truth_BK[: len(ids)], self.k), 4),
        }

    def of_exact(self, ids: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The column of what is lost by not scoring everything."""
        return {"of_exact": round(recall(ids, np.array([one[: self.k] for one in exact]), self.k), 4)}


def measure_search(bench: Bench, data: DataSet, threads: int, works: Sequence[str]) -> None:
    """One query at a time where `search` is among the works, all in one call where `batch` is."""
    with _opened(bench, data, threads) as processes:
        for queries, most in bench.queries.items():
            known = has_truth(data.folder, data.name, queries)
            truth_BK = read_truth(data.folder, data.name, queries) if known else None
            if truth_BK is None:
                print(f"{data.name} has no exact answers to {queries}: its rows have no recall against float32")
            there, query_rows = read_queries(data.folder, queries, 0, BATCH_FACTOR * most).shape[:2]
            there = there if truth_BK is None else min(there, len(truth_BK))
            for k in (k for k in bench.ks if k <= data.documents):
                cells = [
                    Cell(process, setting, parameters, data, queries, query_rows, truth_BK, k)
                    for process in processes
                    if process.alive
                    for setting, parameters in _settings(bench, process, k).items()
                ]
                if "search" in works:
                    _search_in_turn(bench, cells, min(most, there))
                if "batch" in works:
                    _batch_in_turn(bench, [cell for cell in cells if cell.setting == "default"], there)


@contextmanager
def _opened(bench: Bench, data: DataSet, threads: int) -> Iterator[list[EngineProcess]]:
    """A process of every engine that starts and opens its index."""
    with ExitStack() as stack:
        processes = []
        for engine in bench.engines:
            process = bench.try_start(engine, data, threads)
            if process is None:
                continue
            stack.enter_context(process)
            try:
                process.ask("open", timeout_s=bench.build_s)
            except EngineFailed as failure:
                leave_out(data, engine, "open", failure)
                continue
            processes.append(process)
        yield processes


def _settings(bench: Bench, process: EngineProcess, k: int) -> dict[str, dict[str, Any]]:
    """Those to measure: only the default, beside it an exact search of the same codes where it is ours, or all."""
    settings: dict[str, dict[str, Any]] = process.ask("settings", timeout_s=bench.build_s, k=k)["settings"]
    beside = bench.settings == "exact" and process.engine.name in OURS
    wanted = {"default", "exact"} if beside else {"default"}
    return {name: value for name, value in settings.items() if bench.settings == "all" or name in wanted}


def _search_in_turn(bench: Bench, cells: Sequence[Cell], count: int) -> None:
    """Each repetition asks every cell all queries, beginning with another cell each time."""
    turns: dict[int, int] = {}
    warm: dict[int, int] = {}
    for number, cell in enumerate(cells):
        seconds = _one_query_s(bench, cell)
        if seconds is not None:
            turns[number] = max(1, min(bench.repeats, int(bench.budget_s / (seconds * count))))
            warm[number] = WARM if seconds < SLOW_S else 0
    answers: dict[int, list[dict[str, Any]]] = {}
    for repeat in range(bench.repeats):
        order = [(repeat + number) % len(cells) for number in range(len(cells))]
        for number in order:
            if turns.get(number, 0) <= repeat:
                continue
            try:
                answer = cells[number].ask("search", count, bench.slowest_s * (count + WARM), warm=warm[number])
            except EngineFailed as failure:
                cells[number].leave(failure)
                turns[number] = 0
                continue
            answers.setdefault(number, []).append(answer)
    exact = {
        cells[number].process: kept[0]["ids"] for number, kept in answers.items() if cells[number].setting == "exact"
    }
    for number, kept in sorted(answers.items()):
        cell = cells[number]
        cpu = spread([answer["cpu_ms"] for answer in kept])["median"]
        facts = {**cell.facts(kept[0]["ids"]), **spread_of_queries([answer["ms"] for answer in kept])}
        if cell.process in exact:
            facts |= cell.of_exact(kept[0]["ids"], exact[cell.process])
        bench.write("search", cell.process, cell.data, **facts, cpu_ms=cpu)


def _one_query_s(bench: Bench, cell: Cell) -> float | None:
    """How long a warm query takes, or None where that is too long."""
    try:
        seconds: float = cell.ask("search", 1, 4 * bench.slowest_s, warm=1)["ms"][0] / 1e3
        if seconds > bench.slowest_s:
            raise EngineFailed(f"one query takes {seconds:.1f} s")
    except EngineFailed as failure:
        cell.leave(failure)
        return None
    return seconds


def _batch_in_turn(bench: Bench, cells: Sequence[Cell], count: int) -> None:
    """All queries in one call."""
    answers: dict[int, list[dict[str, Any]]] = {}
    for repeat in range(bench.repeats):
        for number, cell in enumerate(cells):
            spent = sum(answer["seconds"] for answer in answers.get(number, []))
            if not cell.process.alive or (repeat and (number not in answers or spent > bench.budget_s)):
                continue
            try:
                answer = cell.ask("batch", count, bench.slowest_s * count)
            except EngineFailed as failure:
                cell.leave(failure)
                continue
            answers.setdefault(number, []).append(answer)
    for number, kept in answers.items():
        cell = cells[number]
        cpu = spread([answer["cpu_ms"] for answer in kept])["median"]
        rates = spread([count / answer["seconds"] for answer in kept])
        facts = {**cell.facts(kept[0]["ids"]), **rates, "unit": "queries/s", "cpu_ms": cpu}
        bench.write("batch", cell.process, cell.data, **facts)
