"""Milliseconds and GFLOP/s of every op, beside NumPy and torch doing the same work.

python benchmarks/bench_ops.py [--threads N] [--items N] [--isa NAME]

Random unit vectors in the shape of a text collection: items of 20 to 102 vectors, 128 dimensions, 2,048 centroids.
Every figure is the median of the repeats (least and most in brackets); paths are interleaved.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flmr.ops import native
from flmr.ops.assign import assign
from flmr.ops.coded import Codebook, Coded, estimate, query_table, rough, score_codes
from flmr.ops.maxsim import maxsim
from flmr.ops.score import score_flat
from flmr.ops.topk import topk
from flmr.ops.trellis import dequantize, quantize, scale_table, trellis_levels
from flmr.records import MultiVectors

DIM, CENTROIDS, CANDIDATES = 128, 2048, 1000


def measure(title: str, flops: float, paths: Mapping[str, Callable[[], Any]], repeats: int = 5) -> None:
    """Run the paths in turn and print one line each."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(repeats + 1):
        for name, path in paths.items():
            start = time.perf_counter()
            path()
            seconds[name].append(time.perf_counter() - start)
    for name, (_, *kept) in seconds.items():
        middle = statistics.median(kept)
        rate = f"{flops / middle / 1e9:8.1f} GFLOP/s" if flops else " " * 16
        print(f"{title:34} {name:8} {middle * 1e3:9.2f} ms [{min(kept) * 1e3:.2f} {max(kept) * 1e3:.2f}] {rate}")


def normal(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def bench_scores(rng: np.random.Generator, items: MultiVectors, threads: int, isa: str) -> None:
    """Scoring chosen items and ranking all of them, from codes and from flat vectors."""
    centroids = rng.integers(-127, 128, (CENTROIDS, DIM)).astype(np.int8)
    codes = rng.integers(0, CENTROIDS, len(items.vectors)).astype(np.uint16)
    scales = rng.integers(200, 256, len(codes)).astype(np.uint8)
    chosen = rng.permutation(len(items))[:CANDIDATES].astype(np.uint32)
    count = int(items.lengths[chosen].sum())
    how = {"threads": threads, "isa": isa}

    for rows in (1, 32, 320):
        query = normal(rng, rows)
        flops = 2.0 * count * rows * DIM

        def numpy_flat(query: np.ndarray = query) -> np.ndarray:
            return np.array([(items[i] @ query.T).max(axis=0).sum() for i in chosen])

        for nbits in (2, 4, 8):
            packed = rng.integers(0, 256, (len(codes), DIM * nbits // 8), dtype=np.uint8)
            scale = np.full(CENTROIDS, 0.001, np.float32)
            book = Codebook(centroids, scale, scale_table(0.01), trellis_levels(nbits), nbits)
            stored = Coded(items.offsets, codes, packed, scales)
            table = query_table(query, book, **how)
            measure(
                f"{len(chosen)} items, {rows} rows, {nbits} bits",
                flops,
                {
                    "score": lambda q=query, b=book, c=stored: score_codes(q, b, c, chosen, **how),
                    "estimate": lambda t=table, b=book, c=stored: estimate(t, b, c, chosen, **how),
                },
            )
        measure(
            f"all items, {rows} rows",
            0,
            {
                "table": lambda q=query, b=book: query_table(q, b, **how),
                "rough": lambda t=table, c=stored: rough(t, c, None, **how),
            },
        )
        paths = {
            "native": lambda q=query: score_flat(q, chosen, items.offsets, items.vectors, **how),
            "numpy": numpy_flat,
        }
        measure(f"score_flat {len(chosen)} items, {rows} rows", flops, paths)


def bench_build(rng: np.random.Generator, threads: int, isa: str, count: int = 20_000) -> None:
    """What building an index does to each vector."""
    vectors, centroids = normal(rng, count), normal(rng, CENTROIDS)
    how = {"threads": threads, "isa": isa}
    half_norms = (centroids**2).sum(axis=1) / 2
    measure(
        f"assign {count} vectors",
        2.0 * count * CENTROIDS * DIM,
        {
            "native": lambda: assign(vectors, centroids, **how),
            "numpy": lambda: (half_norms - vectors @ centroids.T).argmin(axis=1),
        },
        repeats=3,
    )
    for nbits in (2, 4, 8):
        table = scale_table(0.1)
        packed, scales = quantize(vectors, table, nbits=nbits, **how)
        measure(
            f"quantize {count} vectors, {nbits} bits",
            0,
            {"native": lambda n=nbits, t=table: quantize(vectors, t, nbits=n, **how)},
        )
        measure(
            f"dequantize {count} vectors, {nbits} bits",
            0,
            {"native": lambda n=nbits, t=table, p=packed, s=scales: dequantize(p, s, t, nbits=n, dim=DIM, **how)},
        )


def bench_maxsim(rng: np.random.Generator, threads: int, isa: str) -> None:
    """A training batch: 16 queries of 32 rows against 64 documents of 128 rows, forward and backward."""
    import torch

    torch.set_num_threads(threads)
    shapes = (16, 32, DIM), (64, 128, DIM)
    queries, documents = (torch.from_numpy(normal(rng, s[0] * s[1])).view(s).requires_grad_() for s in shapes)
    ragged = [MultiVectors.from_list(list(t.detach().numpy())) for t in (queries, documents)]

    def plain() -> torch.Tensor:
        return torch.einsum("bqd,nkd->bnqk", queries, documents).max(dim=3).values.sum(dim=2)

    flops = 2.0 * 16 * 32 * 64 * 128 * DIM
    paths = {
        "native": lambda: maxsim(*ragged, threads=threads, isa=isa),
        "torch": lambda: maxsim(queries, documents),
        "plain": plain,
    }
    measure("maxsim 16 x 64, forward", flops, paths)
    both = {
        "torch": lambda: maxsim(queries, documents).sum().backward(),
        "plain": lambda: plain().sum().backward(),
    }
    measure("maxsim 16 x 64, with backward", 0, both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=native.thread_count(None))
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--isa", default=None)
    given = parser.parse_args()
    isa = native.isa(given.isa)
    print(f"isa {isa}, {given.threads} threads, BLAS threads {os.environ.get('OMP_NUM_THREADS', 'as it likes')}")
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 103, given.items)
    items = MultiVectors(normal(rng, int(lengths.sum())), np.concatenate([[0], lengths.cumsum()]).astype(np.int64))
    print(f"{len(items)} items, {len(items.vectors)} vectors of {DIM}")
    bench_scores(rng, items, given.threads, isa)
    bench_build(rng, given.threads, isa)
    scores = rng.standard_normal(1_000_000).astype(np.float32)
    paths = {"native": lambda: topk(scores, 100, isa=isa), "numpy": lambda: np.argpartition(-scores, 100)[:100]}
    measure("topk 100 of 1,000,000", 0, paths)
    bench_maxsim(rng, given.threads, isa)


if __name__ == "__main__":
    main()
