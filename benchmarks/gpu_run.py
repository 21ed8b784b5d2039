"""One section in a process of its own: who is under way is said before it runs, rows as soon as they are known.

Knows how engines are tried, checked and timed side by side, and what is said of one that fails.  Knows no sizes, no
kernel and no file: what it says goes to the process that outlives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmarks.gpu_clock import Call, Limits, Timer, free_memory, out_of_memory, peak_memory
from benchmarks.gpu_engines import Engine
from benchmarks.gpu_rows import TIMING, Row, spread_ms
from benchmarks.search_rows import digits


@dataclass
class Run:
    """The device, how much may be done on it, and where it is told.

    paths: those of ours.  thin: of so many checks one is made.  past: by work and engine what an earlier process of
    this section ended with: works that are done (engine ""), engines that brought it down, with the reason.  until:
    time.monotonic() after which nothing new is begun.
    """

    device: torch.device
    tell: Callable[[dict[str, Any]], None]
    tiny: bool = False
    thin: int = 1
    paths: tuple[str, ...] = ("mma", "wgmma")
    past: Mapping[tuple[str, str], str] = field(default_factory=dict)
    until: float = float("inf")

    def __post_init__(self) -> None:
        self.timer = Timer(self.device, *((0.0, 1, 1) if self.tiny else (0.6, 3, 3)))
        self.limits = Limits(self.timer, self.tiny)

    def row(self, row: Row) -> None:
        """Tell a row."""
        self.tell({"row": asdict(row)})

    def begins(self, work: str, engine: str) -> bool:
        """Tell that an engine begins; False where it is not to: time ran out, or it brought a process down."""
        if (work, engine) in self.past:
            self.row(Row(work, engine, "", note=f"failed: {self.past[work, engine]}"))
            return False
        if time.monotonic() > self.until:
            self.tell({"left": f"{work}, {engine}"})
            return False
        self.tell({"begin": [work, engine]})
        return True

    def wanted(self, work: str) -> bool:
        """Whether a work is still to be done in this section."""
        return (work, "") not in self.past and (work, TIMING) not in self.past

    def limit(self, kind: str) -> float:
        """Bytes or operations a second of the device; a row tells it when it is first measured."""
        known = kind in self.limits.found
        rate = self.limits.rate(kind)
        if not known:
            rates = [digits(self.limits.work(kind) / s / 1e12) for s in self.limits.seconds(kind)]
            name, unit = {"copy": ("device copy", "TB/s"), "matrix": ("bf16 matrix product", "TFLOP/s")}[kind]
            counts = {"repeats": len(rates), "median": digits(rate / 1e12), "least": min(rates), "most": max(rates)}
            self.row(Row(name, "device", unit, torch.__version__, **counts))
        return rate

    def done(self, work: str) -> None:
        """Tell that all rows of a work have been told."""
        self.tell({"done": work})
        free_memory(self.device)


@dataclass(frozen=True)
class Work:
    """What several engines do on the same inputs.

    calls: for an engine, one call a set of inputs.  error: of what a call returned, None where none was made, beside
    what is allowed of it.  effort: bytes or operations of one call, by the limit that they are held against.
    """

    name: str
    dtype: str
    shape: str
    calls: Callable[[Engine], Sequence[Call]]
    error: Callable[[Any], tuple[float, float]]
    limit: str = ""
    effort: float = 0.0


def compare(run: Run, work: Work, engines: Sequence[Engine]) -> None:
    """Try each engine once, then time those that work in turn; ours is not timed where it is wrong."""
    facts: dict[str, dict[str, Any]] = {}
    paths: dict[str, Sequence[Call]] = {}
    for engine in engines:
        about = {"version": engine.version, "dtype": work.dtype, "shape": work.shape}
        if engine.missing:
            run.row(Row(work.name, engine.name, "", **about, note=f"skipped: {engine.missing}"))
            continue
        if not run.begins(work.name, engine.name):
            continue
        try:
            calls = work.calls(engine)
            calls[0]()  # compiles, tunes, loads
            result, memory = peak_memory(run.device, calls[0])
            error, allowed = work.error(result)
            del result
        except Exception as problem:  # whatever a peer raises is its row; a device that is lost is raised anew
            run.row(Row(work.name, engine.name, "", **about, note=reason_of(problem, run.device)))
            free_memory(run.device)
            continue
        if memory is not None:
            about["memory_mb"] = digits(memory / 1e6)
        about |= {"error": digits(error), "allowed": digits(allowed)}
        if engine.ours and not error <= allowed:
            run.row(Row(work.name, engine.name, "", **about, note="WRONG, so it was not timed"))
        else:
            facts[engine.name], paths[engine.name] = about, calls
    if paths and run.begins(work.name, TIMING):
        limit = run.limit(work.limit) if work.limit else 0.0
        for name, seconds in run.timer.in_turn(paths).items():
            times = spread_ms(seconds)
            if limit:
                facts[name] |= {"limit": work.limit, "share": digits(work.effort / times["median"] * 1e3 / limit)}
            run.row(Row(work.name, name, **facts[name], **times))
    run.done(work.name)


def reason_of(problem: BaseException, device: torch.device) -> str:
    """Why an engine has no figure, in one line.  Raises the problem where the device can no longer be used."""
    if out_of_memory(problem):
        return "did not fit"
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
            torch.zeros(1, device=device).item()
        except Exception:  # the context is lost: this process can measure nothing more
            raise problem from None
    first = (str(problem).strip().splitlines() or [""])[0]
    return f"failed: {type(problem).__name__}: {first}"[:300]
