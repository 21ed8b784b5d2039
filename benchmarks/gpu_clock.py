"""Seconds, memory and the two limits of a device, for benchmarks.gpu.

Knows torch devices: CUDA, and the processor, on which the same functions run in tests.  Knows no kernel of ours.

A device's time is taken between two CUDA events around each call.  The queue is filled while the device waits, so that
the host's part of a call (Python, launches) is hidden wherever it is shorter than the device's; and calls go round
through several sets of inputs, so that none finds its own in the second-level cache.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Call = Callable[[], Any]

QUEUED = 20  # calls in one filling of the queue, which holds about a thousand launches
WAIT_CYCLES = 20_000_000  # of the device while its queue is filled: about 10 ms
CACHES = 3  # the second-level cache is passed over so many times before a set of inputs comes round again
MOST_SETS = 16
MOST_CALLS = 200  # of a path in a round
SLOW_S = 0.5  # a call that takes so long is made once a round


@dataclass(frozen=True)
class Timer:
    """How calls are timed on a device: rounds of each path in turn, for about `seconds` a path in all."""

    device: torch.device
    seconds: float = 1.0
    rounds: int = 3
    least: int = 3  # calls a round

    def sets(self, bytes_of_one: int, room: int) -> int:
        """How many sets of inputs go round: past the cache, within `room` bytes, 1 on a processor."""
        if self.device.type != "cuda":
            return 1
        cache = torch.cuda.get_device_properties(self.device).L2_cache_size
        wanted = 1 + math.ceil(CACHES * cache / max(1, bytes_of_one))
        return max(1, min(wanted, MOST_SETS, room // max(1, bytes_of_one)))

    def in_turn(self, paths: dict[str, Sequence[Call]]) -> dict[str, list[float]]:
        """Seconds of the calls of each path, another path first in each round.  paths: one call a set of inputs."""
        taken: dict[str, list[float]] = {name: [] for name in paths}
        if not paths:
            return taken
        once = {name: statistics.median(self.calls(calls, min(3, len(calls) + 1))) for name, calls in paths.items()}
        names = list(paths)
        for number in range(self.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                count = int(self.seconds / self.rounds / max(once[name], 1e-6))
                least = self.least if once[name] < SLOW_S else 1
                taken[name] += self.calls(paths[name], max(least, min(count, MOST_CALLS)))
        return taken

    def calls(self, calls: Sequence[Call], count: int) -> list[float]:
        """Seconds of `count` calls, the sets in turn, each by itself."""
        if self.device.type != "cuda":
            return [_on_processor(calls[i % len(calls)]) for i in range(count)]
        seconds: list[float] = []
        for start in range(0, count, QUEUED):
            events = []
            torch.cuda.synchronize(self.device)
            torch.cuda._sleep(WAIT_CYCLES)
            for i in range(start, min(count, start + QUEUED)):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                calls[i % len(calls)]()
                end.record()
                events.append((begin, end))
            torch.cuda.synchronize(self.device)
            seconds += [begin.elapsed_time(end) / 1e3 for begin, end in events]
        return seconds


def _on_processor(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory(device: torch.device, call: Call) -> tuple[Any, int | None]:
    """What the call returns, and the most bytes it held on the device above those held before; None on a processor."""
    if device.type != "cuda":
        return call(), None
    free_memory(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = call()
    torch.cuda.synchronize(device)
    return result, torch.cuda.max_memory_allocated(device) - before


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch, or what lies below it, says that memory is out."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


@dataclass
class Limits:
    """What the device can do at most, measured when first asked for: bytes/s of a copy, flop/s of a bf16 product."""

    timer: Timer
    tiny: bool
    found: dict[str, list[float]] = field(default_factory=dict)

    def seconds(self, kind: str) -> list[float]:
        """Seconds of the repeats of what measures `kind`, "copy" or "matrix"."""
        if kind not in self.found:
            make = {"copy": self._copy, "matrix": self._matrix}[kind]
            self.found[kind] = self.timer.in_turn({kind: [make()]})[kind]
            free_memory(self.timer.device)
        return self.found[kind]

    def work(self, kind: str) -> float:
        """Bytes (read and written) or floating-point operations of one repeat."""
        if kind == "copy":
            return 2.0 * (1 << 20 if self.tiny else 2 << 30)
        return 2.0 * self._side() ** 3

    def rate(self, kind: str) -> float:
        """Bytes or operations a second, by the median."""
        return self.work(kind) / statistics.median(self.seconds(kind))

    def _side(self) -> int:
        return 64 if self.tiny else 8192

    def _copy(self) -> Call:
        size = int(self.work("copy")) // 2
        source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=self.timer.device)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    def _matrix(self) -> Call:
        side = self._side()
        left, right = (normal((side, side), torch.bfloat16, self.timer.device, seed) for seed in range(2))
        out = torch.empty_like(left)
        return lambda: torch.mm(left, right, out=out)


def normal(shape: Sequence[int], dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Gaussian numbers (zeros would be multiplied faster) of a seed, made on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)


def unit_rows(shape: Sequence[int], dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Rows of length one (before they are rounded), a part at a time so that no wide copy of all is ever held."""
    out = torch.empty(tuple(shape), dtype=dtype, device=device)
    flat = out.view(-1, shape[-1])
    generator = torch.Generator(device).manual_seed(seed)
    at_once = max(1, (1 << 28) // shape[-1] // 4)
    for start in range(0, len(flat), at_once):
        part = flat[start : start + at_once]
        made = torch.randn(part.shape, device=device, generator=generator)
        part.copy_(made.div_(made.norm(dim=1, keepdim=True)))
    return out
