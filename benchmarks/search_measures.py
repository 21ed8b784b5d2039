"""What an engine costs beside its searches: builds, opens, updates, and exact scores of chosen documents.

Knows the engines as processes that answer, and asks them in turn.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_data import DataSet, maxsim, read_queries
from benchmarks.search_rows import spread, spread_of_queries
from benchmarks.search_run import Bench, leave_out
from benchmarks.search_workers import OURS, Engine, EngineFailed, EngineProcess

Answer = dict[str, Any]

UPDATED = 200
UPDATE_REPEATS = 3
RERANKED = 1000
RERANK_QUERIES = 20
BUILD_FIGURES = (("build wall", "wall_s", "s"), ("build cpu", "cpu_s", "s"), ("build peak", "peak_mb", "MB"))
OPEN_FIGURES: tuple[tuple[str, str, Callable[[Answer], float]], ...] = (
    ("open", "s", lambda answer: answer["open_s"]),
    ("first query", "s", lambda answer: answer["first_query_s"]),
    ("open resident", "MB", lambda answer: answer["open_mb"]),
    ("open growth", "MB", lambda answer: answer["open_mb"] - answer["before_mb"]),
    ("search resident", "MB", lambda answer: answer["searched_mb"]),
    ("open size", "MB", lambda answer: answer["bytes"] / 1e6),
)


def is_built(bench: Bench, engine: Engine, data: DataSet, threads: int, *, again: bool) -> bool:
    """Whether there is an index, after building and measuring it where it was asked for or there is none.

    A mark beside an index tells which commit of ours made it, so that no older format is measured.
    """
    index = bench.index(engine, data)
    mark = index.with_suffix(".built")
    commit = bench.place.commit if engine.name in OURS else "any"
    if not again and mark.exists() and mark.read_text() == commit and not commit.endswith("+changes"):
        return True
    mark.unlink(missing_ok=True)
    answers: list[Answer] = []
    while not answers or (len(answers) < bench.repeats and sum(a["wall_s"] for a in answers) < bench.budget_s):
        shutil.rmtree(index, ignore_errors=True)
        try:
            with bench.start(engine, data, threads) as process:
                answers.append(process.ask("build", timeout_s=bench.build_s))
        except EngineFailed as failure:
            leave_out(data, engine, "build", failure)
            return False
    for work, key, unit in BUILD_FIGURES:
        bench.write(work, process, data, unit=unit, **spread([answer[key] for answer in answers]))
    sizes = [answer["bytes"] / data.num_vectors for answer in answers]
    bench.write("size", process, data, unit="bytes/vector", **spread(sizes))
    mark.write_text(commit)
    return True


def measure_open(bench: Bench, data: DataSet, threads: int) -> None:
    """Open with nothing of the index in the page cache, in new processes; then ask all queries at the default."""
    queries, count = next(iter(bench.queries.items()))
    answers: dict[str, list[Answer]] = {}
    processes: dict[str, EngineProcess] = {}
    for _ in range(bench.repeats):
        for engine in bench.engines:
            forget(bench.index(engine, data))
            try:
                with bench.start(engine, data, threads) as process:
                    answer = process.ask("open", timeout_s=bench.build_s, queries=queries, count=count)
            except EngineFailed as failure:
                leave_out(data, engine, "open", failure)
                continue
            answers.setdefault(engine.name, []).append(answer)
            processes[engine.name] = process
    for name, kept in answers.items():
        for work, unit, figure in OPEN_FIGURES:
            bench.write(work, processes[name], data, unit=unit, **spread([figure(answer) for answer in kept]))


def measure_update(bench: Bench, data: DataSet, threads: int) -> None:
    """Add documents until a search sees them, then delete them, each time on a new copy of the index."""
    answers: dict[str, list[tuple[Answer, Answer]]] = {}
    processes: dict[str, EngineProcess] = {}
    for _ in range(min(bench.repeats, UPDATE_REPEATS)):
        for engine in bench.engines:
            try:
                process, answer = _update(bench, engine, data, threads)
            except EngineFailed as failure:
                leave_out(data, engine, "update", failure)
                continue
            if answer is not None:
                answers.setdefault(engine.name, []).append(answer)
                processes[engine.name] = process
    for name, kept in answers.items():
        lost = "" if all(added["seen"] for added, _ in kept) else "an added document's own vectors do not find it"
        left = "a deleted document is found" if any(gone["seen"] for _, gone in kept) else ""
        added, gone = (spread([pair[place]["seconds"] for pair in kept]) for place in (0, 1))
        bench.write(f"add {UPDATED}", processes[name], data, unit="s", note=lost, **added)
        bench.write(f"delete {UPDATED}", processes[name], data, unit="s", note=left, **gone)


def _update(
    bench: Bench, engine: Engine, data: DataSet, threads: int
) -> tuple[EngineProcess, tuple[Answer, Answer] | None]:
    """What the engine says of adding and of deleting, or None where it cannot."""
    copy = bench.work / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    count = min(UPDATED, data.documents)
    with bench.start(engine, data, threads, copy) as process:
        if "add" not in process.able:
            return process, None
        shutil.copytree(bench.index(engine, data), copy)
        try:
            process.ask("open", timeout_s=bench.build_s)
            added = process.ask("add", timeout_s=bench.build_s, count=count, k=10)
            return process, (added, process.ask("delete", timeout_s=bench.build_s, ids=added["ids"], k=10))
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def measure_rerank(bench: Bench, data: DataSet, threads: int) -> None:
    """Exact scores of chosen documents, whose vectors are in memory; beside them their largest error."""
    chosen = np.sort(np.random.default_rng(4).permutation(data.documents)[:RERANKED]).tolist()
    with ExitStack() as stack:
        engines = [engine for engine in bench.engines if engine.reranks]
        started = [process for engine in engines if (process := bench.try_start(engine, data, threads))]
        processes = [stack.enter_context(process) for process in started]
        for process in processes:
            process.ask("hold", timeout_s=bench.build_s, documents=chosen)
        for queries, most in bench.queries.items():
            queries_BQD = read_queries(data.folder, queries, 0, min(most, RERANK_QUERIES))
            asked = {"queries": queries, "first": 0, "count": len(queries_BQD)}
            answers: dict[str, list[Answer]] = {}
            for _ in range(bench.repeats):
                for process in (process for process in processes if process.alive):
                    try:
                        answer = process.ask("rerank", timeout_s=bench.build_s, **asked)
                    except EngineFailed as failure:
                        leave_out(data, process.engine, f"rerank {queries}", failure)
                        continue
                    answers.setdefault(process.engine.name, []).append(answer)
            true_BN = _true_scores(data, chosen, queries_BQD)
            for process in processes:
                if kept := answers.get(process.engine.name):
                    facts = spread_of_queries([answer["ms"] for answer in kept])
                    facts["cpu_ms"] = spread([answer["cpu_ms"] for answer in kept])["median"]
                    facts["error"] = float(f"{np.abs(np.array(kept[0]['scores']) - true_BN).max():.3g}")
                    facts |= {"queries": queries, "query_rows": queries_BQD.shape[1], "num_queries": len(queries_BQD)}
                    bench.write(f"rerank {len(chosen)}", process, data, **facts)


def _true_scores(data: DataSet, chosen: list[int], queries_BQD: np.ndarray) -> np.ndarray:
    """In float64."""
    documents = data.documents_of(chosen)
    vectors_TD = np.concatenate(documents).astype(np.float64)
    offsets_N1 = np.cumsum([0, *(len(document) for document in documents)])
    return np.stack([maxsim(query.astype(np.float64), vectors_TD, offsets_N1) for query in queries_BQD])


def forget(index: Path) -> None:
    """Drop the index's files from the page cache."""
    for path in index.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
