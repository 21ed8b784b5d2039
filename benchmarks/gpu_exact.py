"""What scores, gradients and nearest centroids are in float64, and how far a sum in float32 may lie from that.

Knows tensors on any device; everything is materialised, so sizes are those of checks or of samples.
"""

# B queries, N documents, Lq and Ld rows of each, D dim.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A product of float32 or narrower numbers is rounded once, or split in parts of which the last is left out; sums keep
# 24 bits, of which a matrix unit may cut off where it should round.  So each of D + 8 steps errs by 2^-22 at most.
STEP = 2.0**-22


def exact_scores(
    queries_BLD: Tensor, documents_NLD: Tensor, query_mask: Tensor | None = None, document_mask: Tensor | None = None
) -> Tensor:
    """(B, N) float64: -inf for a document without rows that count, 0 for a query without, NaN where one takes part."""
    similarities = torch.einsum("bqd,nkd->bnqk", queries_BLD.double(), documents_NLD.double())
    return _reduce(similarities, query_mask, document_mask)


def exact_pairs(
    queries_BLD: Tensor, documents_BnLD: Tensor, query_mask: Tensor | None = None, document_mask: Tensor | None = None
) -> Tensor:
    """(B, n) float64, each query against its own documents."""
    masks = [[None] * len(queries_BLD) if mask is None else list(mask) for mask in (query_mask, document_mask)]
    rows = [
        exact_scores(q[None], d, None if q_mask is None else q_mask[None], d_mask)
        for q, d, q_mask, d_mask in zip(queries_BLD, documents_BnLD, *masks, strict=True)
    ]
    return torch.cat(rows) if rows else documents_BnLD.new_zeros(documents_BnLD.shape[:2], dtype=torch.float64)


def exact_gradients(
    queries_BLD: Tensor,
    documents_NLD: Tensor,
    weights_BN: Tensor,
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * scores) in float64; of equal rows the first has it all."""
    queries, documents = queries_BLD.double(), documents_NLD.double()
    similarities = torch.einsum("bqd,nkd->bnqk", queries, documents)
    if document_mask is not None:
        similarities = similarities.masked_fill(~document_mask[None, :, None, :], -torch.inf)
    best = similarities.amax(-1, keepdim=True)
    winners = torch.zeros_like(similarities).scatter_(-1, first_of(similarities == best)[..., None], 1.0)
    weights = weights_BN.double()
    if document_mask is not None:
        weights = weights.masked_fill(~document_mask.any(-1), 0)
    if query_mask is not None:
        winners = winners * query_mask[:, None, :, None]
    entries = winners * weights[:, :, None, None]
    return torch.einsum("bnqk,nkd->bqd", entries, documents), torch.einsum("bnqk,bqd->nkd", entries, queries)


def allowed_error(queries_BLD: Tensor, documents_NLD: Tensor) -> float:
    """What a score may err where products are of the values as they are and sums of float32."""
    if queries_BLD.numel() == 0 or documents_NLD.numel() == 0:
        return 0.0
    lengths = [rows.double().nan_to_num(0, 0, 0).norm(dim=-1).amax() for rows in (queries_BLD, documents_NLD)]
    rows, dim = queries_BLD.shape[-2:]
    return float(lengths[0] * lengths[1]) * rows * ((dim + 8) * STEP + rows * 2.0**-24)


def first_of(which: Tensor) -> Tensor:
    """The first place along the last axis that is true, which argmax does not promise."""
    places = torch.arange(which.shape[-1], device=which.device)
    return torch.where(which, places, 1 << 40).argmin(-1)


def code_error(codes_T: Tensor, vectors_TD: Tensor, centroids_KD: Tensor, sample: int) -> tuple[float, float]:
    """By how much x.c - |c|^2 / 2 of a chosen centroid lies below the best, of some vectors, and what is allowed.

    Allowed is what the products and the squares, summed in float32, may err.
    """
    chosen = sample_rows(len(vectors_TD), sample)
    some, centroids = vectors_TD[chosen].double(), centroids_KD.double()
    squares_K = centroids.square().sum(1)
    products_TK = some @ centroids.T - squares_K / 2
    taken_T = products_TK.gather(1, codes_T[chosen].long()[:, None])[:, 0]
    lengths = float(some.norm(dim=1).max() * squares_K.max().sqrt())
    allowed = 2 * (lengths + float(squares_K.max())) * (vectors_TD.shape[1] + 8) * STEP
    return float((products_TK.amax(1) - taken_T).max()), allowed


def code_loss(codes_T: Tensor, vectors_TD: Tensor, centroids_KD: Tensor, sample: int) -> tuple[float, float]:
    """The same of vectors and centroids that are rounded to bytes: every number by half a step of its row's largest."""
    error, allowed = code_error(codes_T, vectors_TD, centroids_KD, sample)
    sides = [of.double() for of in (vectors_TD[sample_rows(len(vectors_TD), sample)], centroids_KD)]
    lengths = [float(of.norm(dim=1).max()) for of in sides]
    steps = [float((of.abs().amax(1) / 254).max()) * of.shape[1] ** 0.5 for of in sides]  # |difference| of a row
    most = steps[0] * lengths[1] + steps[1] * lengths[0] + steps[0] * steps[1] + steps[1] * lengths[1] + steps[1] ** 2
    return error, allowed + 2 * most


def largest_error(found: Tensor, exact: Tensor) -> float:
    """The largest difference; infinite where one of two is NaN or infinite and the other is not the same."""
    if found.shape != exact.shape:
        return float("inf")
    if exact.numel() == 0:
        return 0.0
    same = (found == exact) | (found.isnan() & exact.isnan())
    difference = torch.where(same, 0, (found.double() - exact.double()).abs())
    return float(difference.nan_to_num(torch.inf, torch.inf).max())


def sample_rows(count: int, wanted: int) -> list[int]:
    """At most `wanted` row numbers, the first and the last among them, evenly apart."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})


def _reduce(similarities: Tensor, query_mask: Tensor | None, document_mask: Tensor | None) -> Tensor:
    if similarities.shape[-1] == 0:
        return similarities.new_full(similarities.shape[:2], -torch.inf)
    if document_mask is not None:
        similarities = similarities.masked_fill(~document_mask[None, :, None, :], -torch.inf)
    best = similarities.amax(-1)
    if query_mask is not None:
        best = best.masked_fill(~query_mask[:, None, :], 0)
    scores: Tensor = best.sum(-1)
    if document_mask is not None:
        scores = scores.masked_fill(~document_mask.any(-1), -torch.inf)
    return scores


def shape_text(*shapes: Sequence[int]) -> str:
    """Shapes for a row, as 1x32x128 1000x300x128."""
    return " ".join("x".join(map(str, shape)) for shape in shapes)
