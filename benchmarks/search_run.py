"""What a run of the search benchmark is told, and how its engines are started and its rows written.

Knows settings, processes and rows.  Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search_data import DataSet
from benchmarks.search_rows import Birthplace, Row, append
from benchmarks.search_workers import Engine, EngineFailed, EngineProcess


@dataclass(frozen=True)
class Bench:
    """The settings.

    queries: name -> how many of them.  settings: `only` the default, with an `exact` search of ours beside it, or
    `all`.  repeats: how often all engines are asked.  slowest_s: an engine is left out where one query takes longer.
    budget_s: how long the repeats of one engine at one setting may take together; one is always made.  build_s: how
    long a build may take.  out: the file of rows, or None.
    """

    data: Path
    work: Path
    environments: Path
    out: Path | None
    place: Birthplace
    engines: tuple[Engine, ...]
    queries: Mapping[str, int]
    ks: tuple[int, ...]
    threads: tuple[int, ...]
    settings: str
    repeats: int
    slowest_s: float
    budget_s: float
    build_s: float

    def index(self, engine: Engine, data: DataSet) -> Path:
        """Where the engine's index of a set lies."""
        return self.work / f"{data.name}-{engine.name.replace(' ', '-')}"

    def start(self, engine: Engine, data: DataSet, threads: int, index: Path | None = None) -> EngineProcess:
        """A process of the engine, on its index or another; raises EngineFailed."""
        index = index or self.index(engine, data)
        places = {"environments": self.environments, "log": self.work / "logs"}
        return EngineProcess(engine, index, data.folder, data.name, threads, **places)

    def try_start(self, engine: Engine, data: DataSet, threads: int) -> EngineProcess | None:
        """The same, or None after saying why there is none."""
        try:
            return self.start(engine, data, threads)
        except EngineFailed as failure:
            leave_out(data, engine, "start", failure)
            return None

    def write(self, work: str, process: EngineProcess, data: DataSet, **facts: Any) -> None:
        """One row."""
        sizes = {"set": data.name, "documents": data.documents, "vectors": data.num_vectors}
        who = {"engine": process.engine.name, "version": process.version, "threads": process.threads}
        append(self.out, self.place, Row(work=work, **who, **sizes, **facts))


def leave_out(data: DataSet, engine: Engine, what: str, failure: EngineFailed) -> None:
    """Say why there is no row."""
    print(f"{data.name} {engine.name} left out: {what}: {failure}", flush=True)
