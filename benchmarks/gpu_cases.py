"""The cases of benchmarks.gpu's checks: what makes kernels err.

Knows edges of tiles, strides, rows that do not count, ties, NaN, 8-bit types, sizes beyond 2^31.  What must hold of
each: gpu_right.
"""

# B queries, N documents, n own documents of a query, Lq and Ld rows of each, D dim.

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_exact import exact_scores, largest_error
from benchmarks.gpu_right import (
    Found,
    equal_in_chunks,
    gaussian,
    nan_stays_where_it_is,
    nan_that_does_not_count,
    right_codes,
    right_gradients,
    right_multivectors,
    right_pairs,
    right_scores,
    sampled,
    twice_torch,
    which_count,
    whole,
)
from flmr.ops.maxsim import maxsim
from flmr.records import MultiVectors

HALVES = (torch.float16, torch.bfloat16)
QUANTIZED = (torch.int8, torch.float8_e4m3fn)
# Queries of more than 64 rows go another way through the kernels: some of every kind are.
SHAPES = ((1, 1, 1, 1, 1), (3, 5, 4, 7, 6), (1, 32, 20, 61, 128), (2, 33, 5, 129, 96), (4, 17, 3, 65, 64))
SHAPES += ((1, 100, 3, 130, 128), (2, 65, 2, 257, 72))
LARGE = ((2, 320, 3, 512, 128), (1, 1024, 2, 1024, 128), (65, 130, 67, 30, 128))
DIMS = (1, 7, 64, 100, 128, 200, 768, 8192)
LONG, MANY = 70_000, 70_000  # rows of an item whose number needs 32 bits; items beyond 65,535 blocks
BILLIONS = (1 << 31) // 128 + 4096  # rows of 128 numbers, 2^31 of them and more


@dataclass(frozen=True)
class Case:
    """One thing that must hold.  large: it is left out where sizes are tiny."""

    name: str
    check: Callable[[torch.device], Found]
    large: bool = False


def _types() -> tuple[torch.dtype, ...]:
    return (torch.float32, *HALVES)


def _named(dtype: torch.dtype, text: str) -> str:
    return f"{str(dtype).removeprefix('torch.')} {text}"


def score_cases() -> Iterator[Case]:
    for dtype, shape, make, masked in itertools.product(_types(), SHAPES + LARGE, (whole, gaussian), (False, True)):
        name = _named(dtype, f"{make.__name__} {'x'.join(map(str, shape))}{' masked' if masked else ''}")
        yield Case(name, _all_pairs(dtype, shape, make, masked), large=shape in LARGE)
    for dtype, dim in itertools.product(_types(), DIMS):
        yield Case(_named(dtype, f"D {dim}"), _all_pairs(dtype, (2, 9, 3, 21, dim), gaussian, False))
        yield Case(_named(dtype, f"D {dim}, 70 rows"), _all_pairs(dtype, (1, 70, 3, 40, dim), gaussian, True))
        yield Case(_named(dtype, f"D {dim} whole"), _all_pairs(dtype, (2, 9, 3, 21, dim), whole, True))
    for dtype in _types():
        yield Case(_named(dtype, "twice torch"), lambda device, dtype=dtype: twice_torch(dtype, device))


def _all_pairs(
    dtype: torch.dtype, shape: tuple[int, ...], make: Callable[..., Tensor], masked: bool
) -> Callable[..., Found]:
    B, Lq, N, Ld, D = shape

    def check(device: torch.device) -> Found:
        queries, documents = make((B, Lq, D), dtype, device, 1), make((N, Ld, D), dtype, device, 2)
        rows = which_count(queries, documents, masked)
        return right_scores(queries, documents, 0.0 if make is whole else None, **rows)

    return check


def hard_cases() -> Iterator[Case]:
    """Strides, empty axes, extremes, values that are not finite."""
    for dtype in _types():
        for name, change in STRIDES.items():
            yield Case(_named(dtype, name), _strided(dtype, change))
        for empty in range(4):
            yield Case(_named(dtype, f"axis {empty} empty"), _empty(dtype, empty))
        yield Case(_named(dtype, "none counts"), _none_counts(dtype))
        yield Case(_named(dtype, "all negative"), _negative(dtype))
        for value, side in itertools.product((float("nan"), float("inf"), -float("inf")), ("a query", "a document")):
            name = _named(dtype, f"{value} in {side}")
            yield Case(name, lambda device, d=dtype, v=value, s=side: nan_stays_where_it_is(d, device, v, s))
        name = _named(dtype, "NaN that does not count")
        yield Case(name, lambda device, d=dtype: nan_that_does_not_count(d, device))
        yield Case(_named(dtype, "a long document"), _all_pairs(dtype, (2, 3, 2, LONG, 16), whole, True))
        yield Case(_named(dtype, "many documents"), _all_pairs(dtype, (1, 2, MANY, 2, 8), whole, False))
        yield Case(_named(dtype, "many queries"), _all_pairs(dtype, (MANY, 2, 1, 2, 8), whole, False))
    for rows_each in (1, 64):
        yield Case(f"bfloat16 2^31 numbers, {rows_each} rows each", _billions(rows_each), large=True)


STRIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "dim first": lambda t: t.movedim(2, 0).contiguous().movedim(0, 2),
    "every other row": lambda t: t.repeat_interleave(2, dim=1)[:, ::2],
    "unaligned": lambda t: torch.nn.functional.pad(t, (1, 2))[..., 1:-2],
    "odd stride": lambda t: torch.nn.functional.pad(t, (0, 3))[..., :-3],
    "a part": lambda t: torch.cat([t, t])[len(t) :],
    "one item again": lambda t: t[:1].expand(len(t), -1, -1),
}


def _strided(dtype: torch.dtype, change: Callable[[Tensor], Tensor]) -> Callable[..., Found]:
    def check(device: torch.device) -> Found:
        queries, documents = whole((3, 21, 72), dtype, device, 1), whole((4, 50, 72), dtype, device, 2)
        errors = [right_scores(change(queries), documents, 0.0)[0], right_scores(queries, change(documents), 0.0)[0]]
        both = {"exact": True, "deterministic": False}
        errors.append(right_gradients(change(queries), change(documents), **both)[0])
        return max(errors), 0.0

    return check


def _empty(dtype: torch.dtype, axis: int) -> Callable[..., Found]:
    sizes = [3, 5, 4, 7]
    sizes[axis] = 0
    B, Lq, N, Ld = sizes

    def check(device: torch.device) -> Found:
        pair = [
            torch.zeros(shape, dtype=dtype, device=device, requires_grad=True) for shape in ((B, Lq, 8), (N, Ld, 8))
        ]
        scores = maxsim(*pair)
        if scores.shape != (B, N):
            return float("inf"), 0.0
        expected = torch.full((B, N), -torch.inf if Ld == 0 else 0.0, dtype=torch.float64, device=device)
        gradients = torch.autograd.grad(scores, pair, torch.ones_like(scores))
        return max(largest_error(scores.detach(), expected), *(float(g.abs().sum()) for g in gradients)), 0.0

    return check


def _none_counts(dtype: torch.dtype) -> Callable[..., Found]:
    def check(device: torch.device) -> Found:
        queries, documents = whole((3, 18, 32), dtype, device, 1), whole((5, 33, 32), dtype, device, 2)
        rows = which_count(queries, documents, True, empty=True)
        error, _ = right_scores(queries, documents, 0.0, **rows)
        return max(error, right_gradients(queries, documents, exact=True, deterministic=False, **rows)[0]), 0.0

    return check


def _negative(dtype: torch.dtype) -> Callable[..., Found]:
    """Where every product is below 0, a padded row of zeros would win."""

    def check(device: torch.device) -> Found:
        queries = whole((3, 21, 40), dtype, device, 1).abs() + 1
        return right_scores(queries, -whole((4, 50, 40), dtype, device, 2).abs() - 1, 0.0)

    return check


def _billions(rows_each: int) -> Callable[..., Found]:
    def check(device: torch.device) -> Found:
        flat = torch.empty((BILLIONS // 64 * 64, 128), dtype=torch.bfloat16, device=device)
        generator = torch.Generator(device).manual_seed(1)
        for part in flat.split(1 << 20):
            part.copy_(torch.randn(part.shape, device=device, generator=generator))
        return sampled(gaussian((1, 8, 128), torch.bfloat16, device, 2), flat.view(-1, rows_each, 128))

    return check


def gradient_cases() -> Iterator[Case]:
    shapes = (*SHAPES, (2, 40, 3, 33, 200), (5, 3, 2, 1000, 16), *LARGE)
    for dtype, shape, masked in itertools.product(_types(), shapes, (False, True)):
        for deterministic in (False, True):
            text = f"{'x'.join(map(str, shape))}{' masked' if masked else ''}{' in order' if deterministic else ''}"
            yield Case(
                _named(dtype, f"whole {text}"), _gradient(dtype, shape, whole, masked, deterministic), shape in LARGE
            )
        if shape not in LARGE:  # of a million maxima some are so near to another that float32 may choose that
            yield Case(_named(dtype, f"gaussian {text}"), _gradient(dtype, shape, gaussian, masked, False))
    for dim in DIMS:
        yield Case(f"float32 D {dim}", _gradient(torch.float32, (2, 9, 3, 21, dim), whole, True, False))


def _gradient(
    dtype: torch.dtype, shape: tuple[int, ...], make: Callable[..., Tensor], masked: bool, deterministic: bool
) -> Callable[..., Found]:
    B, Lq, N, Ld, D = shape

    def check(device: torch.device) -> Found:
        queries, documents = make((B, Lq, D), dtype, device, 1), make((N, Ld, D), dtype, device, 2)
        rows = which_count(queries, documents, masked, empty=True)
        exact = make is whole
        return right_gradients(queries, documents, exact=exact, deterministic=deterministic, **rows)

    return check


def pair_cases() -> Iterator[Case]:
    shapes = ((1, 1, 1, 1, 1), (3, 5, 2, 7, 6), (2, 33, 4, 65, 64), (5, 32, 1, 61, 128), (2, 320, 3, 512, 128))
    for dtype, shape, make, masked in itertools.product(_types(), shapes, (whole, gaussian), (False, True)):
        name = _named(dtype, f"{make.__name__} {'x'.join(map(str, shape))}{' masked' if masked else ''}")
        yield Case(name, _own_pairs(dtype, shape, make, masked), large=shape[1] == 320)


def _own_pairs(
    dtype: torch.dtype, shape: tuple[int, ...], make: Callable[..., Tensor], masked: bool
) -> Callable[..., Found]:
    B, Lq, n, Ld, D = shape

    def check(device: torch.device) -> Found:
        queries, documents = make((B, Lq, D), dtype, device, 1), make((B, n, Ld, D), dtype, device, 2)
        rows = which_count(queries, documents, masked)
        return right_pairs(queries, documents, exact=make is whole, **rows)

    return check


def chunk_cases() -> Iterator[Case]:
    for dtype, masked in itertools.product(_types(), (False, True)):
        for shape in ((3, 40, 9, 70, 64), (1, 33, 200, 31, 128), (17, 5, 3, 300, 24), (2, 150, 7, 60, 64)):
            name = _named(dtype, f"{'x'.join(map(str, shape))}{' masked' if masked else ''}")
            yield Case(name, _chunked(dtype, shape, masked))


def _chunked(dtype: torch.dtype, shape: tuple[int, ...], masked: bool) -> Callable[..., Found]:
    B, Lq, N, Ld, D = shape

    def check(device: torch.device) -> Found:
        queries, documents = gaussian((B, Lq, D), dtype, device, 1), gaussian((N, Ld, D), dtype, device, 2)
        rows = which_count(queries, documents, masked)
        return equal_in_chunks(queries, documents, **rows)

    return check


def multivector_cases() -> Iterator[Case]:
    lengths: dict[str, tuple[list[int], list[int]]] = {
        "ragged": ([1, 32, 7, 320], [3, 0, 61, 1, 130, 33, 0, 64]),
        "none": ([], []),
        "no documents": ([5], []),
        "empty ones only": ([4, 0], [0, 0]),
        "one row each": ([1] * 40, [1] * 70),
        "one long": ([3], [5000, 1]),
        "many": ([32], list(range(20, 103)) * 2),
    }
    for (name, (queries, documents)), kind in itertools.product(lengths.items(), (np.float32, np.float16)):
        yield Case(f"{np.dtype(kind)} {name}", _ragged(queries, documents, kind, 128))
    for dim in (1, 7, 100, 768):
        yield Case(f"float32 D {dim}", _ragged([2, 9], [21, 1, 8], np.float32, dim))


def _ragged(query_lengths: list[int], document_lengths: list[int], kind: type, dim: int) -> Callable[..., Found]:
    def items(lengths: list[int], seed: int) -> MultiVectors:
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((sum(lengths), dim)).astype(kind)
        return MultiVectors(vectors, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    return lambda device: right_multivectors(items(query_lengths, 1), items(document_lengths, 2), device)


def _quantized() -> tuple[torch.dtype, ...]:
    """8-bit types that the card multiplies."""
    old = torch.cuda.is_available() and torch.cuda.get_device_capability() < (9, 0)
    return (torch.int8,) if old else QUANTIZED


def quantized_cases() -> Iterator[Case]:
    for dtype, shape, masked in itertools.product(_quantized(), (*SHAPES, *LARGE), (False, True)):
        text = f"{'x'.join(map(str, shape))}{' masked' if masked else ''}"
        yield Case(_named(dtype, text), _all_pairs(dtype, shape, whole, masked), large=shape in LARGE)
        yield Case(_named(dtype, f"scaled {text}"), _scaled(dtype, shape, masked), large=shape in LARGE)
    for dtype, dim in itertools.product(_quantized(), DIMS):
        yield Case(_named(dtype, f"D {dim}"), _all_pairs(dtype, (2, 9, 3, 21, dim), whole, True))
        yield Case(_named(dtype, f"D {dim}, 70 rows"), _all_pairs(dtype, (1, 70, 3, 40, dim), whole, False))


def _scaled(dtype: torch.dtype, shape: tuple[int, ...], masked: bool) -> Callable[..., Found]:
    """A scale for each row: quarters and halves, so that nothing is rounded."""
    B, Lq, N, Ld, D = shape

    def check(device: torch.device) -> Found:
        queries, documents = whole((B, Lq, D), dtype, device, 1), whole((N, Ld, D), dtype, device, 2)
        scales = [2.0 ** whole((*of.shape[:2],), torch.float32, device, 4, most=2) for of in (queries, documents)]
        rows = which_count(queries, documents, masked)
        found = maxsim(queries, documents, query_scales=scales[0], document_scales=scales[1], **rows)
        wide = [of.double() * scale[..., None] for of, scale in zip((queries, documents), scales, strict=True)]
        return largest_error(found, exact_scores(*wide, **rows)), 0.0

    return check


def nearest_cases() -> Iterator[Case]:
    shapes = [
        (1, 1, 1),
        (1000, 37, 64),
        (129, 257, 128),
        (5, 70_000, 16),
        (70_000, 3, 8),
        *((65, 40, dim) for dim in DIMS),
    ]
    for dtype, (T, K, D), make in itertools.product(_types(), shapes, (whole, gaussian)):
        yield Case(_named(dtype, f"{make.__name__} {T}x{K}x{D}"), _nearest(dtype, T, K, D, make))


def _nearest(dtype: torch.dtype, T: int, K: int, D: int, make: Callable[..., Tensor]) -> Callable[..., Found]:
    def check(device: torch.device) -> Found:
        return right_codes(make((T, D), dtype, device, 1), make((K, D), dtype, device, 2), exact=make is whole)

    return check


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "scores": score_cases,
    "hard inputs": hard_cases,
    "gradients": gradient_cases,
    "own documents": pair_cases,
    "chunks": chunk_cases,
    "multi-vectors": multivector_cases,
    "8 bits": quantized_cases,
    "nearest centroids": nearest_cases,
}
