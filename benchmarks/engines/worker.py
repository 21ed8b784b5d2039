"""One engine on one set, in a process of its own: requests come as lines of JSON, answers go back as lines of JSON.

    python -m benchmarks.engines.worker MODULE INDEX DATA SET THREADS OPTIONS

MODULE is a module beside this one with a class `Engine`; OPTIONS is JSON for it.  Knows how to time an engine and what
memory it takes; knows nothing of other engines, of truth or of results.  Needs NumPy only: it runs in the engine's own
environment.

An engine has `version()`, `settings(k)` (name -> parameters, its default first), `open()`, and
`search(queries_BQD, k, **parameters)` -> ids of each query, best first.  Those that can also have `build(data)`,
`add(documents, first_id)` -> their ids, `delete(ids)`, and `hold(documents)` with `rerank(query_QD)` -> scores.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_data import DataSet, read_queries

Answer = dict[str, Any]


class Worker:
    """The engine, its set and the folder of its index."""

    def __init__(self, module: str, index: Path, data: DataSet, threads: int, options: dict[str, Any]) -> None:
        self._data = data
        self._index = index
        self._engine = importlib.import_module(f"benchmarks.engines.{module}").Engine(index, threads, **options)

    def describe(self) -> Answer:
        """What the engine is and can do."""
        able = [name for name in ("build", "search", "add", "delete", "rerank") if hasattr(self._engine, name)]
        return {"version": self._engine.version(), "able": able}

    def settings(self, k: int) -> Answer:
        """The parameters that a search may be given, by name, the default first."""
        return {"settings": self._engine.settings(k)}

    def build(self) -> Answer:
        """Build the index; peak_mb is the largest resident memory of this process since the build began."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before, wall, cpu = memory_mb("VmRSS"), time.perf_counter(), _cpu_s()
        self._engine.build(self._data)
        wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
        peak = memory_mb("VmHWM")
        size = self._size()
        return {"wall_s": wall, "cpu_s": cpu, "before_mb": before, "peak_mb": peak, "bytes": size}

    def open(self, queries: str | None = None, count: int = 1, k: int = 10) -> Answer:
        """Open the index and, where queries are named, ask them one by one: seconds of the first, memory after all."""
        before, began = memory_mb("VmRSS"), time.perf_counter()
        self._engine.open()
        answer = {"open_s": time.perf_counter() - began, "before_mb": before, "open_mb": memory_mb("VmRSS")}
        if queries is not None:
            queries_BQD = read_queries(self._data.folder, queries, 0, count)
            parameters = next(iter(self._engine.settings(k).values()))
            began = time.perf_counter()
            self._engine.search(queries_BQD[:1], k, **parameters)
            answer["first_query_s"] = time.perf_counter() - began
            for query_QD in queries_BQD[1:]:
                self._engine.search(query_QD[None], k, **parameters)
            answer |= {"searched_mb": memory_mb("VmRSS"), "bytes": self._size()}
        return answer

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._index.rglob("*") if path.is_file())

    def search(self, queries: str, first: int, count: int, k: int, parameters: dict[str, Any], warm: int) -> Answer:
        """Ask one query after the other; milliseconds of each, and the processor's milliseconds a query."""
        queries_BQD = read_queries(self._data.folder, queries, first, count)
        for query_QD in queries_BQD[:warm]:
            self._engine.search(query_QD[None], k, **parameters)
        ids, ms, cpu = [], [], time.process_time()
        for query_QD in queries_BQD:
            began = time.perf_counter()
            found = self._engine.search(query_QD[None], k, **parameters)
            ms.append(1e3 * (time.perf_counter() - began))
            ids.append([int(item) for item in found[0]])
        return {"ms": ms, "cpu_ms": 1e3 * (time.process_time() - cpu) / count, "ids": ids}

    def batch(self, queries: str, first: int, count: int, k: int, parameters: dict[str, Any]) -> Answer:
        """Ask all queries at once."""
        queries_BQD = read_queries(self._data.folder, queries, first, count)
        began, cpu = time.perf_counter(), time.process_time()
        found = self._engine.search(queries_BQD, k, **parameters)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        ids = [[int(item) for item in one] for one in found]
        return {"seconds": seconds, "cpu_ms": 1e3 * cpu / count, "ids": ids}

    def add(self, count: int, k: int) -> Answer:
        """Add documents and search until they are seen: the first of them asks for itself."""
        documents = self._data.new_documents(count)
        parameters = next(iter(self._engine.settings(k).values()))
        query_BQD = documents[0][None].astype(np.float32)
        self._engine.search(query_BQD, k, **parameters)
        began = time.perf_counter()
        ids = [int(item) for item in self._engine.add(documents, self._data.documents)]
        found = self._engine.search(query_BQD, k, **parameters)
        return {"seconds": time.perf_counter() - began, "ids": ids, "seen": ids[0] in [int(i) for i in found[0]]}

    def delete(self, ids: list[int], k: int) -> Answer:
        """Delete the documents that were added and search again."""
        query_BQD = self._data.new_documents(1)[0][None].astype(np.float32)
        parameters = next(iter(self._engine.settings(k).values()))
        began = time.perf_counter()
        self._engine.delete(ids)
        found = self._engine.search(query_BQD, k, **parameters)
        return {"seconds": time.perf_counter() - began, "seen": ids[0] in [int(i) for i in found[0]]}

    def hold(self, documents: list[int]) -> Answer:
        """Keep these documents' vectors ready for `rerank`."""
        self._engine.hold(self._data.documents_of(documents))
        return {}

    def rerank(self, queries: str, first: int, count: int) -> Answer:
        """Score all documents that are held, for one query after the other."""
        queries_BQD = read_queries(self._data.folder, queries, first, count)
        self._engine.rerank(queries_BQD[0])
        scores, ms, cpu = [], [], time.process_time()
        for query_QD in queries_BQD:
            began = time.perf_counter()
            scored = self._engine.rerank(query_QD)
            ms.append(1e3 * (time.perf_counter() - began))
            scores.append([float(score) for score in scored])
        return {"ms": ms, "cpu_ms": 1e3 * (time.process_time() - cpu) / count, "scores": scores}


def _cpu_s() -> float:
    """Seconds of the cores of this process and of those that it has ended."""
    return sum(os.times()[:4])


def memory_mb(field: str) -> float:
    """VmRSS (resident now) or VmHWM (resident at most) of this process, in MB of 10**6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024 / 1e6


def serve(worker: Worker, requests: Any, answer: Callable[[Answer], None]) -> None:
    """Answer every request; what an engine raises becomes an answer that says so."""
    for line in requests:
        request = json.loads(line)
        try:
            answer(getattr(worker, request.pop("do"))(**request))
        except Exception as error:  # whatever a peer raises, the others go on
            answer({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Read the command line, say what the engine is, then serve."""
    module, index, data, name, threads, options = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(value: Answer) -> None:
        channel.write(json.dumps(value) + "\n")
        channel.flush()

    if hasattr(os, "sched_setaffinity"):  # so that an engine cannot use more cores than it was told
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    try:
        worker = Worker(module, Path(index), DataSet.open(Path(data), name), int(threads), json.loads(options))
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    answer(worker.describe())
    serve(worker, sys.stdin, answer)


if __name__ == "__main__":
    main()
