"""The works that are timed on a GPU: scoring, training's forward and backward pass, nearest centroids.

Knows sizes, what a result is checked against and what limits each work.  How engines are tried and timed: gpu_run.
"""

# B queries, N documents, Lq and Ld rows of each, D dim; T vectors, K centroids.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_clock import Call, unit_rows
from benchmarks.gpu_engines import Engine, assign_engines, maxsim_engines, pair_engines, rounded_engines
from benchmarks.gpu_exact import (
    allowed_error,
    code_error,
    code_loss,
    exact_pairs,
    exact_scores,
    largest_error,
    sample_rows,
    shape_text,
)
from benchmarks.gpu_run import Run, Work, compare

DIM = 128
ROOM = 24 << 30  # bytes of the sets of inputs that go round
SAMPLE = 64  # documents whose scores are checked: those of all would not fit
# A gradient is of the right length along its own rows (Euler: scores are linear in the rows of one side while the same
# rows win).  Entries are rounded to 9 bits and add up with both signs.
EULER = 2.0**-7


@dataclass(frozen=True)
class Sizes:
    """B queries of Lq rows against N documents of Ld rows (of each query's own, where so), by the work's name."""

    name: str
    B: int
    Lq: int
    N: int
    Ld: int
    dtype: torch.dtype = torch.bfloat16
    limit: str = "matrix"
    own: bool = False

    def tiny(self) -> Sizes:
        """The same work on a processor in no time."""
        return replace(self, B=min(self.B, 2), Lq=min(self.Lq, 5), N=min(self.N, 6), Ld=min(self.Ld, 9))

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of queries and documents."""
        own = (self.B,) if self.own else ()
        return (self.B, self.Lq, DIM), (*own, self.N, self.Ld, DIM)

    def flops(self) -> float:
        """Of one forward pass."""
        return 2.0 * self.B * self.Lq * self.N * self.Ld * DIM


FORWARD = (
    Sizes("forward 1 x 1,000 (32 x 300)", 1, 32, 1000, 300, limit="copy"),
    Sizes("forward 1 x 10,000 (32 x 300)", 1, 32, 10_000, 300, limit="copy"),
    Sizes("forward 1 x 10,000 pages (1,024 x 1,024)", 1, 1024, 10_000, 1024),
)
TYPES = (torch.float32, torch.float16, torch.int8, torch.float8_e4m3fn)
TRAINING = Sizes("training 256 x 256 (320 x 512)", 256, 320, 256, 512, limit="")
OWN = Sizes("distillation 64 x 16 own, scores (320 x 512)", 64, 320, 16, 512, own=True)
ASSIGN, VECTORS, CENTROIDS = "assign 10M x 65,536", 10_000_000, 65_536
ROUNDED = f"{ASSIGN}, rounded to bytes"


def forward(run: Run) -> None:
    """One query against many documents; then ours in the other types."""
    for sizes in FORWARD:
        scores(run, sizes, maxsim_engines(run.device, run.paths, training=False))
    for dtype in TYPES:
        name = f"{FORWARD[1].name} {str(dtype).removeprefix('torch.')}"
        ours = [engine for engine in maxsim_engines(run.device, run.paths, training=False) if engine.ours]
        scores(run, replace(FORWARD[1], name=name, dtype=dtype), ours)


def training(run: Run) -> None:
    """Forward and backward of a batch against itself, and scores of each query's own documents."""
    step(run, TRAINING, maxsim_engines(run.device, run.paths, training=True))
    scores(run, OWN, pair_engines(run.device, run.paths))


def scores(run: Run, sizes: Sizes, engines: Sequence[Engine]) -> None:
    """Time scores without gradients."""
    if not run.wanted(sizes.name):
        return
    sizes = sizes.tiny() if run.tiny else sizes
    pairs = _inputs(run, sizes)
    read = sum(of.numel() * of.element_size() for of in pairs[0])

    def calls(engine: Engine) -> list[Call]:
        return [partial(_without_gradients, engine.scores, *pair) for pair in pairs]

    effort = float(read) if sizes.limit == "copy" else sizes.flops()
    compare(run, _work(sizes, calls, lambda found: score_error(found, *pairs[0], own=sizes.own), effort), engines)


def step(run: Run, sizes: Sizes, engines: Sequence[Engine]) -> None:
    """Time scores and their gradients."""
    if not run.wanted(sizes.name):
        return
    sizes = sizes.tiny() if run.tiny else sizes
    pairs = [tuple(of.requires_grad_() for of in pair) for pair in _inputs(run, sizes)]
    generator = torch.Generator(run.device).manual_seed(3)
    weights = 0.5 + torch.rand((sizes.B, sizes.N), device=run.device, generator=generator)

    def calls(engine: Engine) -> list[Call]:
        return [partial(_with_gradients, engine.scores, *pair, weights) for pair in pairs]

    def error(found: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
        check_gradients(found, *pairs[0], weights)
        return score_error(found[0], *pairs[0], own=False)

    compare(run, _work(sizes, calls, error, sizes.flops()), engines)


def assign(run: Run) -> None:
    """The nearest of 65,536 centroids of ten million vectors as an encoder makes them; from bytes, as in k-means."""
    T, K = (3000, 40) if run.tiny else (VECTORS, CENTROIDS)
    works = (
        (ASSIGN, assign_engines(run.device, run.paths), code_error),
        (ROUNDED, rounded_engines(run.paths), code_loss),
    )
    vectors, centroids = (unit_rows((n, DIM), torch.bfloat16, run.device, n) for n in (T, K))
    shape = shape_text(vectors.shape, centroids.shape)

    def calls(engine: Engine) -> list[Call]:
        return [partial(_without_gradients, engine.scores, vectors, centroids)]

    for name, engines, error in works:
        if run.wanted(name):
            wrong = partial(error, vectors_TD=vectors, centroids_KD=centroids, sample=2048)
            work = Work(name, "bfloat16", shape, calls, wrong, limit="matrix", effort=2.0 * T * K * DIM)
            compare(run, work, engines)


def score_error(found: Tensor, queries: Tensor, documents: Tensor, *, own: bool) -> tuple[float, float]:
    """Of the scores of some documents, and what is allowed: see gpu_exact."""
    chosen = sample_rows(documents.shape[-3], SAMPLE if len(queries) == 1 else 3)
    with torch.no_grad():
        # 8-bit floats as bytes: not every torch picks rows of them
        bytes_or_more = documents.view(torch.uint8) if documents.dtype.itemsize == 1 else documents
        some = bytes_or_more[..., chosen, :, :].view(documents.dtype)
        exact = (exact_pairs if own else exact_scores)(queries, some)
        return largest_error(found.detach()[:, chosen], exact), allowed_error(queries, some)


def check_gradients(found: tuple[Tensor, Tensor, Tensor], queries: Tensor, documents: Tensor, weights: Tensor) -> None:
    """Raises ValueError where a gradient, multiplied with its own rows, does not add up to the weighted scores."""
    expected = float((found[0].detach().double() * weights.double()).sum())
    for name, gradient, rows in (("queries", found[1], queries), ("documents", found[2], documents)):
        total = float(_dot(gradient, rows.detach()))
        if not abs(total - expected) <= EULER * abs(expected):
            raise ValueError(f"the gradient of {name} adds up to {total:.6g}, the weighted scores to {expected:.6g}")


def _inputs(run: Run, sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
    """As many sets of queries and documents as go round."""
    shapes = sizes.shapes()
    one = sum(torch.Size(shape).numel() * sizes.dtype.itemsize for shape in shapes)
    return [
        (_rows(shapes[0], sizes.dtype, run.device, 2 * i), _rows(shapes[1], sizes.dtype, run.device, 2 * i + 1))
        for i in range(run.timer.sets(one, ROOM))
    ]


def _rows(shape: Sequence[int], dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    if dtype == torch.int8:
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randint(-127, 128, tuple(shape), dtype=torch.int8, device=device, generator=generator)
    return unit_rows(shape, dtype, device, seed)


def _work(
    sizes: Sizes, calls: Callable[[Engine], Sequence[Call]], error: Callable[[Any], tuple[float, float]], effort: float
) -> Work:
    dtype = str(sizes.dtype).removeprefix("torch.")
    return Work(sizes.name, dtype, shape_text(*sizes.shapes()), calls, error, sizes.limit, effort)


def _without_gradients(function: Callable[..., Any], *args: Tensor) -> Any:
    with torch.no_grad():
        return function(*args)


def _with_gradients(
    function: Callable[..., Tensor], queries: Tensor, documents: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    made = function(queries, documents)
    return made, *torch.autograd.grad(made, (queries, documents), weights.to(made.dtype))


def _dot(left: Tensor, right: Tensor) -> float:
    """Of two large tensors, without a wide copy of either."""
    pairs = zip(left.split(16), right.split(16), strict=True)
    return sum(float((a.double() * b.double()).sum()) for a, b in pairs)
