"""What must hold of MaxSim on any device: scores, gradients, chunks, values that are not finite, against float64.

Knows made-up inputs and the package's functions.  Each function gives an error and what is allowed of it.  Small whole
numbers are multiplied and added without rounding in every type, so there nothing is allowed; elsewhere it is what
products of the given values, summed in float32, may err.
"""

# B queries, N documents, n own documents of a query, Lq and Ld rows of each, D dim.

from __future__ import annotations

from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_engines import our_assign, plain_maxsim
from benchmarks.gpu_exact import (
    allowed_error,
    code_error,
    exact_gradients,
    exact_pairs,
    exact_scores,
    first_of,
    largest_error,
    sample_rows,
)
from flmr.ops.maxsim import maxsim, maxsim_pairs, maxsim_reference
from flmr.records import MultiVectors

Found = tuple[float, float]  # error, allowed


def whole(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, seed: int, most: int = 3) -> Tensor:
    """Whole numbers from -most to most: exact in every type, and full of ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=generator).to(torch.float32).to(dtype).to(device)


def gaussian(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Gaussian numbers, made on the processor: the same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).to(device)


def masks(queries: Tensor, documents: Tensor, seed: int, *, empty: bool = False) -> tuple[Tensor, Tensor]:
    """Which rows count, about two of three; with empty also a query and a document none of whose rows does."""
    generator = torch.Generator().manual_seed(seed)
    pair = [torch.rand(of.shape[:-1], generator=generator) < 0.66 for of in (queries, documents)]
    for mask in pair:
        flat = mask.view(-1, mask.shape[-1])
        if flat.numel():
            flat[:, -1] = True
            if empty:
                flat[0] = False
    return pair[0].to(queries.device), pair[1].to(documents.device)


def which_count(queries: Tensor, documents: Tensor, masked: bool, *, empty: bool = False) -> dict[str, Tensor]:
    """The masks as arguments of `maxsim`; none where nothing is masked."""
    return (
        dict(zip(("query_mask", "document_mask"), masks(queries, documents, 3, empty=empty), strict=True))
        if masked
        else {}
    )


def right_scores(queries: Tensor, documents: Tensor, allowed: float | None = None, **rows: Tensor) -> Found:
    """Scores of all pairs against float64."""
    found = maxsim(queries, documents, **rows)
    error = largest_error(found, exact_scores(queries, documents, **rows))
    return error, allowed_error(queries, documents) if allowed is None else allowed


def right_gradients(queries: Tensor, documents: Tensor, *, exact: bool, deterministic: bool, **rows: Tensor) -> Found:
    """Gradients of whole-number weights: of whole numbers exact but for the last rounding to the inputs' type."""
    queries, documents = (of.detach().requires_grad_() for of in (queries, documents))
    weights = whole((len(queries), len(documents)), torch.float32, queries.device, 5, most=2)
    with _deterministic(deterministic):
        found = torch.autograd.grad(maxsim(queries, documents, **rows), (queries, documents), weights)
        if deterministic:
            again = torch.autograd.grad(maxsim(queries, documents, **rows), (queries, documents), weights)
            if not all(map(torch.equal, found, again)):
                return float("inf"), 0.0
    expected = exact_gradients(queries.detach(), documents.detach(), weights, **rows)
    if exact:
        return max(largest_error(a, b.to(a.dtype)) for a, b in zip(found, expected, strict=True)), 0.0
    # Each entry is a sum of at most `terms` rows: float32 sums, then one rounding to the inputs' type.
    terms = max(queries.shape[0] * queries.shape[1], documents.shape[0])
    step = torch.finfo(queries.dtype).eps + terms * 2.0**-23
    largest = max(float(of.abs().max()) if of.numel() else 0.0 for of in expected)
    return max(largest_error(a, b) for a, b in zip(found, expected, strict=True)), step * max(largest, 1e-30)


def right_pairs(queries: Tensor, documents: Tensor, *, exact: bool, **rows: Tensor) -> Found:
    """Scores and, of whole numbers, gradients of each query with its own documents."""
    expected = exact_pairs(queries, documents, **rows)
    queries, documents = queries.detach().requires_grad_(), documents.detach().requires_grad_()
    found = maxsim_pairs(queries, documents, **rows)
    error = largest_error(found.detach(), expected)
    if not exact:
        return error, allowed_error(queries.detach(), documents.detach())
    weights = whole(tuple(found.shape), torch.float32, queries.device, 6, most=2)
    gradients = torch.autograd.grad(found, (queries, documents), weights)
    for b, (query, own) in enumerate(zip(queries.detach(), documents.detach(), strict=True)):
        chosen = {name: mask[b : b + 1] if name == "query_mask" else mask[b] for name, mask in rows.items()}
        parts = exact_gradients(query[None], own, weights[b : b + 1], **chosen)
        error = max(error, largest_error(gradients[0][b : b + 1], parts[0].to(query.dtype)))
        error = max(error, largest_error(gradients[1][b], parts[1].to(own.dtype)))
    return error, 0.0


def right_multivectors(queries: MultiVectors, documents: MultiVectors, device: torch.device) -> Found:
    """Scores of ragged items in host memory against the reference in NumPy."""
    exact = torch.from_numpy(maxsim_reference(queries, documents))
    errors = [largest_error(torch.from_numpy(maxsim(queries, documents, device=device.type)), exact)]
    if device.type == "cuda":  # the same rows on the card already
        cuda = import_module("flmr.ops.cuda")
        items = [
            cuda.Items.ragged(
                torch.from_numpy(of.vectors).to(device),
                *(torch.from_numpy(edges).to(device) for edges in (of.offsets[:-1], of.offsets[1:])),
                int(of.lengths.max(initial=0)),
            )
            for of in (queries, documents)
        ]
        errors.append(largest_error(cuda.maxsim_forward(*items)[0].cpu(), exact))
    longest = max((len(query) for query in queries), default=0)
    lengths = [
        float(np.linalg.norm(of.vectors.astype(np.float64), axis=1).max(initial=0)) for of in (queries, documents)
    ]
    step = (queries.dim + 8) * 2.0**-22 + longest * 2.0**-24
    return max(errors), lengths[0] * lengths[1] * longest * step + 1e-30


def right_codes(vectors: Tensor, centroids: Tensor, *, exact: bool) -> Found:
    """Nearest centroids: of whole numbers the lowest of the nearest, else one that is as near but for rounding."""
    codes = our_assign(vectors, centroids)
    if codes.shape != (len(vectors),):
        return float("inf"), 0.0
    if not exact:
        return code_error(codes, vectors, centroids, len(vectors))
    products = vectors.double() @ centroids.double().T - centroids.double().square().sum(1) / 2
    return float((codes.long() != first_of(products == products.amax(1, keepdim=True))).sum()), 0.0


def equal_in_chunks(queries: Tensor, documents: Tensor, **rows: Tensor) -> Found:
    """The least scratch gives the bits of the default; where torch multiplies (a processor), what sums may err."""
    results = []
    least = 1 if queries.device.type == "cuda" else 1 << 15  # a processor would take minutes with 1
    for scratch in ({}, {"scratch_bytes": least}):
        pair = [of.detach().requires_grad_() for of in (queries, documents)]
        with _deterministic(True):
            scores = maxsim(*pair, **rows, **scratch)
            weights = whole(tuple(scores.shape), torch.float32, queries.device, 7, most=2)
            results.append((scores.detach(), *torch.autograd.grad(scores, pair, weights)))
    error = max(largest_error(a, b.double()) for a, b in zip(*results, strict=True))
    return error, 0.0 if queries.device.type == "cuda" else allowed_error(queries, documents)


def nan_stays_where_it_is(dtype: torch.dtype, device: torch.device, value: float, side: str) -> Found:
    """NaN or infinity in one row: only the scores that it takes part in may change, and those as in float64."""
    queries, documents = gaussian((4, 19, 64), dtype, device, 1), gaussian((6, 35, 64), dtype, device, 2)
    allowed = allowed_error(queries, documents)
    (queries if side == "a query" else documents)[2, 11, 5] = value
    return right_scores(queries, documents, allowed)


def nan_that_does_not_count(dtype: torch.dtype, device: torch.device) -> Found:
    """Rows that do not count may hold anything, and pass no gradient."""
    queries, documents = whole((3, 18, 64), dtype, device, 1), whole((5, 33, 64), dtype, device, 2)
    rows = which_count(queries, documents, True, empty=True)
    clean = exact_scores(queries, documents, **rows)
    queries[~rows["query_mask"]], documents[~rows["document_mask"]] = torch.nan, torch.inf
    return largest_error(maxsim(queries, documents, **rows), clean), 0.0


def sampled(queries: Tensor, documents: Tensor) -> Found:
    """Scores of more than can be materialised: those of some documents, the first and the last among them."""
    chosen = sample_rows(len(documents), 32)
    found = maxsim(queries, documents)[:, chosen]
    some = documents[chosen]
    return largest_error(found, exact_scores(queries, some)), allowed_error(queries, some)


def twice_torch(dtype: torch.dtype, device: torch.device) -> Found:
    """Root mean square of the errors against twice that of plain torch in the same type."""
    queries, documents = gaussian((8, 64, 128), dtype, device, 1), gaussian((16, 128, 128), dtype, device, 2)
    exact = exact_scores(queries, documents)
    found = [maxsim(queries, documents), plain_maxsim(queries, documents)]
    ours, torchs = ((scores.double() - exact).square().mean().sqrt().item() for scores in found)
    return ours, 2 * torchs


class _deterministic:  # noqa: N801  (a context manager)
    """Torch's deterministic algorithms for a block."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def __enter__(self) -> None:
        self._before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(self._wanted, warn_only=True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(self._before)
