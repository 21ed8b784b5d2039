"""Milliseconds and GFLOP/s of every op, beside NumPy, torch and maxsim-cpu doing the same work.

python -m benchmarks.bench_ops [--threads N] [--items N] [--isa NAME] [--only PART] [--cpu] [--out FILE]

Random unit vectors in the shape of a text collection: items of 20 to 102 vectors, 128 dimensions, 2,048 centroids.
Every figure is the median of the repeats (least and most in brackets); paths are interleaved, and what the cores can do
at most (peak.cpp, where there is a C++ compiler) is measured between them: "of peak" is the share of that.  On a busy
machine --cpu counts the processor's time in place of the clock's: the fairer figure there, for one thread.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_rows import Birthplace, Row, append, birthplace, spread
from flmr import __version__
from flmr.index.lists import list_parts, list_sizes
from flmr.ops import native
from flmr.ops.assign import assign, assign_rounded, round_rows
from flmr.ops.coded import Codebook, Coded, estimate, query_table, rough, score_codes
from flmr.ops.maxsim import maxsim
from flmr.ops.multiply import multiply
from flmr.ops.probe import probe
from flmr.ops.score import score_flat
from flmr.ops.topk import topk
from flmr.ops.trellis import dequantize, quantize, scale_table, trellis_levels
from flmr.records import MultiVectors

DIM, CENTROIDS, CANDIDATES = 128, 2048, 1000
Paths = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Run:
    """How ops are called and timed, and the program that measures what a core can do (None: no compiler)."""

    threads: int
    isa: str
    clock: Callable[[], float]
    probe: Path | None
    items: MultiVectors
    out: Path | None
    place: Birthplace
    how: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "how", {"threads": self.threads, "isa": self.isa})

    def peaks(self) -> dict[str, float]:
        """GFLOP/s of all threads' cores now, by type of number."""
        if self.probe is None:
            return {}
        lines = subprocess.run([self.probe], capture_output=True, text=True, check=True).stdout.splitlines()
        return {name: float(rate) * self.threads for name, rate in (line.split() for line in lines)}

    def measure(self, title: str, flops: float, paths: Paths, repeats: int = 5, numbers: str = "float32") -> None:
        """Run the paths in turn and print one line each.  numbers: what is multiplied, unless a path's name says it."""
        seconds: dict[str, list[float]] = {name: [] for name in paths}
        peaks: dict[str, float] = {}
        for _ in range(repeats + 1):
            for name, path in paths.items():
                start = self.clock()
                path()
                seconds[name].append(self.clock() - start)
            for kind, rate in (self.peaks() if flops else {}).items():
                peaks[kind] = max(rate, peaks.get(kind, 0))
        for name, (_, *kept) in seconds.items():
            middle = statistics.median(kept)
            rate = f"{flops / middle / 1e9:8.1f} GFLOP/s" if flops else ""
            peak = peaks.get(next((kind for kind in peaks if kind in name), numbers))
            share = f" {flops / middle / 1e7 / peak:4.0f}% of peak {peak:.0f}" if peak else ""
            row = Row(
                work=title, engine=name, version=__version__, set="random", documents=len(self.items),
                vectors=len(self.items.vectors), threads=self.threads, unit="ms",
                setting=self.isa, note=f"{rate}{share}".strip(), **spread([1e3 * second for second in kept]),
            )  # fmt: skip
            append(self.out, self.place, row)


def normal(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def peers(documents: list[np.ndarray], threads: int) -> Iterable[tuple[str, Callable[[np.ndarray], Any]]]:
    """What scores a query against documents that it holds: name and function."""
    if find_spec("torch"):
        import torch

        from benchmarks.engines.plain_torch import Blocks

        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.bfloat16):
            yield f"torch {str(dtype).removeprefix('torch.')}", Blocks(documents, dtype).scores
    if find_spec("maxsim_cpu"):  # as many threads as RAYON_NUM_THREADS says
        scores = import_module("maxsim_cpu").maxsim_scores_variable
        yield "maxsim-cpu", lambda query: scores(query, documents)


def bench_rerank(rng: np.random.Generator, items: MultiVectors, run: Run) -> None:
    """A query against chosen items' vectors: out of all of them, and on their own as one multi-vector."""
    halves = items.vectors.astype(np.float16)
    chosen = rng.permutation(len(items))[:CANDIDATES].astype(np.uint32)
    documents = [items[i] for i in chosen]
    held = MultiVectors.from_list([document.astype(np.float16) for document in documents])
    others = list(peers(documents, run.threads))
    for rows in (1, 32, 320):
        query = normal(rng, rows)
        one = MultiVectors.from_list([query])

        def flat(precision: Any, vectors: np.ndarray, query: np.ndarray = query) -> Callable[[], Any]:
            return lambda: score_flat(query, chosen, items.offsets, vectors, precision=precision, **run.how)

        def whole(precision: Any, one: MultiVectors = one) -> Callable[[], Any]:
            return lambda: maxsim(one, held, precision=precision, **run.how)

        def numpy_flat(query: np.ndarray = query) -> np.ndarray:
            return np.array([(document @ query.T).max(axis=0).sum() for document in documents])

        flops = 2.0 * len(held.vectors) * rows * DIM
        ours = {kind: flat(kind, halves) for kind in ("float32", "bfloat16")}
        run.measure(f"score_flat {CANDIDATES} of all, {rows} rows", flops, ours, repeats=9)
        paths = {kind: whole(kind) for kind in ("float32", "bfloat16")}
        for name, scores in others:
            if name != "maxsim-cpu" or rows <= 32:  # 0.1.0 takes a hundred times as long for 320
                paths[name] = lambda scores=scores, q=query: scores(q)
        paths["numpy"] = numpy_flat
        run.measure(f"maxsim {CANDIDATES} items, {rows} rows", flops, paths, repeats=9)


def bench_codes(rng: np.random.Generator, items: MultiVectors, run: Run) -> None:
    """The stages of a search: rough scores of all items, estimates and scores of some, lists of the best centroids."""
    centroids, scales = round_rows(normal(rng, CENTROIDS))
    codes = rng.integers(0, CENTROIDS, len(items.vectors)).astype(np.uint16)
    chosen = rng.permutation(len(items))[:CANDIDATES].astype(np.uint32)
    count = int(items.lengths[chosen].sum())
    for nbits in (2, 4):
        packed = rng.integers(0, 256, (len(codes), DIM * nbits // 8), dtype=np.uint8)
        book = Codebook(centroids, scales, scale_table(1.0), trellis_levels(nbits), nbits)
        coded = Coded(items.offsets, codes, packed, np.full(len(codes), 100, np.uint8))
        for rows in (32, 320):
            query = normal(rng, rows)
            table = query_table(query, book, **run.how)
            stages: dict[str, tuple[float, Callable[[], Any]]] = {
                "query_table": (0, lambda q=query, b=book: query_table(q, b, **run.how)),
                "rough, all": (0, lambda t=table, c=coded: rough(t, c, None, **run.how)),
                "estimate": (
                    2.0 * count * len(table.rows_MD) * DIM,
                    lambda t=table, b=book, c=coded: estimate(t, b, c, chosen, **run.how),
                ),
                "score_codes": (  # two products of bytes a dimension
                    4.0 * count * rows * DIM,
                    lambda q=query, b=book, c=coded: score_codes(q, b, c, chosen, **run.how),
                ),
            }
            for name, (flops, path) in stages.items():
                run.measure(f"{name}, {rows} rows, {nbits} bits", flops, {"native": path}, numbers="int8")
    sizes = list_sizes(codes, items.offsets, CENTROIDS, 1 << 28)
    stored = np.concatenate(list(list_parts(codes, items.offsets, sizes, 1 << 28)))
    offsets = np.concatenate([[0], sizes.cumsum()])
    scores = np.ascontiguousarray(normal(rng, 32) @ (centroids * scales[:, None]).T)
    find = {"native": lambda: probe(scores, offsets, stored, nprobe=4, num_items=len(items), **run.how)}
    run.measure("probe 32 rows, 4 lists a row", 0, find)


def bench_build(rng: np.random.Generator, run: Run, count: int = 20_000) -> None:
    """What building an index does to each vector."""
    vectors, centroids = normal(rng, count), normal(rng, CENTROIDS)
    rounded, scales = round_rows(centroids)
    half_norms = (centroids**2).sum(axis=1) / 2
    flops = 2.0 * count * CENTROIDS * DIM
    paths = {
        "float32": lambda: assign(vectors, centroids, **run.how),
        "int8": lambda: assign_rounded(vectors, rounded, scales, **run.how),
        "numpy": lambda: (half_norms - vectors @ centroids.T).argmin(axis=1),
    }
    run.measure(f"assign {count} vectors", flops, paths, repeats=3)
    rotation = normal(rng, DIM)
    paths = {"native": lambda: multiply(vectors, rotation, **run.how), "numpy": lambda: vectors @ rotation.T}
    run.measure(f"multiply {count} vectors", 2.0 * count * DIM * DIM, paths, repeats=3)
    table = scale_table(1.0)
    for nbits in (2, 4, 8):
        packed, codes = quantize(vectors, table, nbits=nbits, **run.how)
        encode = {"native": lambda n=nbits: quantize(vectors, table, nbits=n, **run.how)}
        run.measure(f"quantize {count} vectors, {nbits} bits", 0, encode, repeats=3)
        decode = {"native": lambda p=packed, c=codes, n=nbits: dequantize(p, c, table, nbits=n, dim=DIM, **run.how)}
        run.measure(f"dequantize {count} vectors, {nbits} bits", 0, decode)


def bench_train(rng: np.random.Generator, run: Run) -> None:
    """A training batch: 16 queries of 32 rows against 64 documents of 128 rows, forward and backward."""
    import torch

    torch.set_num_threads(run.threads)
    shapes = (16, 32, DIM), (64, 128, DIM)
    queries, documents = (torch.from_numpy(normal(rng, s[0] * s[1])).view(s).requires_grad_() for s in shapes)
    ragged = [MultiVectors.from_list(list(t.detach().numpy())) for t in (queries, documents)]

    def plain() -> torch.Tensor:
        return torch.einsum("bqd,nkd->bnqk", queries, documents).max(dim=3).values.sum(dim=2)

    paths = {
        "native": lambda: maxsim(*ragged, **run.how),
        "tensors": lambda: maxsim(queries, documents),
        "plain torch": plain,
    }
    run.measure("maxsim 16 x 64, forward", 2.0 * 16 * 32 * 64 * 128 * DIM, paths)
    both = {
        "tensors": lambda: maxsim(queries, documents).sum().backward(),
        "plain torch": lambda: plain().sum().backward(),
    }
    run.measure("maxsim 16 x 64, with backward", 0, both)


def bench_topk(rng: np.random.Generator, run: Run) -> None:
    """The best of a million scores."""
    scores = rng.standard_normal(1_000_000).astype(np.float32)
    paths = {"native": lambda: topk(scores, 100, isa=run.isa), "numpy": lambda: np.argpartition(-scores, 100)[:100]}
    run.measure("topk 100 of 1,000,000", 0, paths)


def compile_probe(folder: Path) -> Path | None:
    """peak.cpp as a program; None where there is no compiler for it."""
    compiler = shutil.which("c++")
    if compiler is None:
        return None
    source, program = Path(__file__).with_name("peak.cpp"), folder / "peak"
    done = subprocess.run([compiler, "-std=c++20", "-O3", "-march=native", source, "-o", program], check=False)
    return program if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=native.thread_count(None))
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--isa", default=None)
    parts = ("rerank", "codes", "build", "topk", "train")
    parser.add_argument("--only", choices=parts, default=None)
    parser.add_argument("--cpu", action="store_true", help="time of the processor, not of the clock")
    parser.add_argument("--out", type=Path, default=None, help="rows are written there, too")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 103, given.items)
    items = MultiVectors(normal(rng, int(lengths.sum())), np.concatenate([[0], lengths.cumsum()]).astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        clock = time.process_time if given.cpu else time.perf_counter
        probe = compile_probe(Path(folder))
        place = birthplace(shlex.join(["python", "-m", "benchmarks.bench_ops", *sys.argv[1:]]))
        run = Run(given.threads, native.isa(given.isa), clock, probe, items, given.out, place)
        peaks = ", ".join(f"{name} {rate:.0f}" for name, rate in run.peaks().items()) or "not measured"
        blas = os.environ.get("OMP_NUM_THREADS", "as it likes")
        timed = "processor" if given.cpu else "clock"
        print(f"isa {run.isa}, {run.threads} threads, {timed} time, BLAS threads {blas}, load {os.getloadavg()[0]:.1f}")
        print(f"{len(items)} items, {len(items.vectors)} vectors of {DIM}; peak GFLOP/s: {peaks}")
        works: dict[str, Callable[[], None]] = {
            "rerank": lambda: bench_rerank(rng, items, run),
            "codes": lambda: bench_codes(rng, items, run),
            "build": lambda: bench_build(rng, run),
            "topk": lambda: bench_topk(rng, run),
            "train": lambda: bench_train(rng, run),
        }
        for part, work in works.items():
            if given.only in (None, part):
                work()


if __name__ == "__main__":
    main()
