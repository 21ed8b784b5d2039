"""The engines there are, and a process for each of them that answers questions over a pipe.

Knows environments and processes; knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 900.0  # colbert-ai compiles its C++ when it is first used
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class EngineFailed(Exception):
    """An engine could not be started, raised, took too long or died; the message says which."""


@dataclass(frozen=True)
class Engine:
    """An engine as it is named in the rows.

    environment: a folder of a virtual environment, None for this one.  reranks: whether it scores vectors as they are.
    """

    name: str
    module: str
    environment: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    reranks: bool = False

    def python(self, environments: Path) -> Path:
        """The interpreter that has it; raises EngineFailed where the environment was not made."""
        if self.environment is None:
            return Path(sys.executable)
        python = environments / self.environment / "bin" / "python"
        if not python.exists():
            raise EngineFailed(f"no environment at {python.parent.parent}; benchmarks/README.md says how to make it")
        return python


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("flmr 2-bit", "flmr_index", options={"nbits": 2}),
        Engine("flmr 4-bit", "flmr_index", options={"nbits": 4}),
        Engine("flmr 8-bit", "flmr_index", options={"nbits": 8}),
        Engine("flmr 2-bit + sample", "flmr_index", options={"nbits": 2, "sample": True}),
        Engine("flmr 4-bit + sample", "flmr_index", options={"nbits": 4, "sample": True}),
        Engine("flmr 8-bit + sample", "flmr_index", options={"nbits": 8, "sample": True}),
        Engine(
            "flmr 2-bit + vectors + sample", "flmr_index", options={"nbits": 2, "keep_vectors": True, "sample": True}
        ),
        Engine("flmr 2-bit + vectors", "flmr_index", options={"nbits": 2, "keep_vectors": True}),
        Engine("flmr float16", "flmr_index", options={"nbits": 0}, reranks=True),
        Engine("flmr bfloat16", "flmr_index", options={"nbits": 0, "precision": "bfloat16"}, reranks=True),
        Engine("colbert-ai 2-bit", "colbert_ai", "colbertai"),
        Engine("fast-plaid 4-bit", "fast_plaid", "plaid"),
        Engine("xtr-warp-rs 4-bit", "xtr_warp", "plaid"),
        Engine("maxsim-cpu", "maxsim_cpu", "lib", reranks=True),
        Engine("mean HNSW + rerank", "mean_pool", "lib"),
        Engine("torch bfloat16", "plain_torch", options={"dtype": "bfloat16"}, reranks=True),
        Engine("torch float32", "plain_torch", options={"dtype": "float32"}, reranks=True),
    )
}
OURS = tuple(name for name, engine in ENGINES.items() if engine.module == "flmr_index")


class EngineProcess:
    """An engine at work in a process of its own; use it as a context manager."""

    def __init__(
        self, engine: Engine, index: Path, data: Path, name: str, threads: int, *, environments: Path, log: Path
    ) -> None:
        python = engine.python(environments)
        self.engine = engine
        self.threads = threads
        log.mkdir(parents=True, exist_ok=True)
        self._log = log / f"{engine.name.replace(' ', '-')}-{name}.log"
        options = json.dumps(dict(engine.options))
        arguments = [engine.module, str(index), str(data), name, str(threads), options]
        paths = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # ninja, for one that compiles
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        settings = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PATH": paths}
        with self._log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(python), "-W", "ignore", "-m", "benchmarks.engines.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, **settings, **limits},
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            about = self._answer(START_TIMEOUT_S)
        except BaseException:
            self.kill()
            raise
        self.version: str = about["version"]
        self.able: list[str] = about["able"]

    def ask(self, do: str, *, timeout_s: float, **request: Any) -> dict[str, Any]:
        """The answer to one request.  Raises EngineFailed; where it took too long or died, the process is gone."""
        if not self.alive:
            raise EngineFailed(f"it died: {self._last_words()}")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EngineFailed(f"it died: {self._last_words()}") from error
        return self._answer(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End this process, and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            raise EngineFailed(f"no answer within {timeout_s:.0f} s") from None
        if not line:
            raise EngineFailed(f"it died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineFailed(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self._process.poll()}"
