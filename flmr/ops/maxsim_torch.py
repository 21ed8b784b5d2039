"""MaxSim of torch tensors as two operators, `flmr::maxsim` and `flmr::maxsim_backward`, with their gradient.

Knows batches of padded items and which of their rows count; knows nothing of who calls (see flmr.ops.maxsim, which
imports this module when it is first given tensors, because it imports torch).  On a CUDA device the operators are the
kernels of flmr.ops.cuda.  Elsewhere they are torch's own matrix product, a chunk at a time: what is kept of the
(queries x documents x Lq x Ld) similarities is which document row won, two or four bytes a query row and document.
"""

# B queries, N documents, n own documents of a query, Lq and Ld rows, D dim; R = B * Lq query rows, C = N or n columns.

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch import Tensor

from flmr.ops import cuda
from flmr.ops.cuda import QUANTIZED
from flmr.records import MAX_DIM

FORWARD = """(Tensor queries, Tensor documents, Tensor? query_mask, Tensor? document_mask, Tensor? query_scales,
Tensor? document_scales, bool winners, ScalarType? precision, int scratch_bytes) -> (Tensor, Tensor)"""
BACKWARD = """(Tensor grad, Tensor queries, Tensor documents, Tensor? query_mask, Tensor? document_mask,
Tensor winners, bool for_queries, bool for_documents, bool deterministic, int scratch_bytes) -> (Tensor, Tensor)"""


def maxsim_tensors(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor | None,
    document_mask: Tensor | None,
    query_scales: Tensor | None,
    document_scales: Tensor | None,
    scratch_bytes: int,
) -> Tensor:
    """Scores (B, N) of documents (N, Ld, D), or (B, n) of each query's own, (B, n, Ld, D); what is given is sound.

    Which rows won is kept only where a gradient may be asked for.
    """
    kind = queries.device.type
    # Said to the operator, because a compiled graph runs it outside of the context in which it was traced.
    automatic = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    precision = torch.get_autocast_dtype(kind) if automatic and queries.dtype not in QUANTIZED else None
    winners = torch.is_grad_enabled() and (queries.requires_grad or documents.requires_grad)
    masks, scales = (query_mask, document_mask), (query_scales, document_scales)
    scores, _ = torch.ops.flmr.maxsim(queries, documents, *masks, *scales, winners, precision, scratch_bytes)
    return scores  # type: ignore[no-any-return]


@torch.library.custom_op("flmr::maxsim", mutates_args=(), schema=FORWARD)
def _maxsim(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor | None,
    document_mask: Tensor | None,
    query_scales: Tensor | None,
    document_scales: Tensor | None,
    winners: bool,
    precision: torch.dtype | None,
    scratch_bytes: int,
) -> tuple[Tensor, Tensor]:
    """Scores (B, C) and, for each query row and document, the document row that won: (R, C) int16 or int32.

    winners: whether to make these; else (0, C).  precision: what the similarities are rounded to, or None.
    """
    if _on_card(queries, documents):
        common = precision or _common(queries, documents)
        queries, documents = queries.to(common), documents.to(common)
        scores, found = cuda.maxsim_forward(
            cuda.Items.padded(queries, query_mask, query_scales),
            cuda.Items.padded(documents, document_mask, document_scales),
            per_query=documents.shape[1] if documents.dim() == 4 else 0,
            winners=winners,
            scratch_bytes=scratch_bytes,
        )
        return scores, _no_winners(scores, documents) if found is None else found
    forward = _forward_pairs if documents.dim() == 4 else _forward
    kind = queries.device.type
    rounding = (
        torch.autocast(kind, precision, enabled=precision is not None)  # not what the call happens to run under
        if torch.amp.is_autocast_available(kind)
        else contextlib.nullcontext()
    )
    rest = (query_mask, document_mask, query_scales, document_scales, winners, scratch_bytes)
    with rounding:
        return forward(queries, documents, *rest)


@_maxsim.register_fake
def _(queries: Tensor, documents: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *_of_rows, winners, _precision, _scratch_bytes = rest
    (B, Lq, _), columns = queries.shape, documents.shape[-3]
    scores_BC = queries.new_empty((B, columns), dtype=_wide(queries, documents))
    return scores_BC, queries.new_empty((B * Lq if winners else 0, columns), dtype=_winner_type(documents))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    queries, documents, query_mask, document_mask, _, _, ctx.winners, ctx.precision, ctx.scratch_bytes = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the winners come with every gradient
    ctx.save_for_backward(queries, documents, query_mask, document_mask, output[1])


def _gradient(ctx: Any, grad_BC: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * 9
    if grad_BC is None:
        return nothing
    *saved, winners_RC = ctx.saved_tensors
    if not ctx.winners:  # scores only were asked for: they are made once more
        _, winners_RC = torch.ops.flmr.maxsim(*saved, None, None, True, ctx.precision, ctx.scratch_bytes)
    needed = tuple(ctx.needs_input_grad[:2])
    deterministic = torch.are_deterministic_algorithms_enabled()
    found = torch.ops.flmr.maxsim_backward(grad_BC, *saved, winners_RC, *needed, deterministic, ctx.scratch_bytes)
    return *(gradient if wanted else None for gradient, wanted in zip(found, needed, strict=True)), *nothing[2:]


_maxsim.register_autograd(_gradient, setup_context=_remember)


@torch.library.custom_op("flmr::maxsim_backward", mutates_args=(), schema=BACKWARD)
def _maxsim_backward(
    grad: Tensor,
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor | None,
    document_mask: Tensor | None,
    winners: Tensor,
    for_queries: bool,
    for_documents: bool,
    deterministic: bool,
    scratch_bytes: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of queries and documents in their own types and shapes, (0,) for one that is not wanted.

    deterministic: whether gradients of documents are added in a fixed order; without a card they always are.
    """
    saved = (queries, documents, query_mask, document_mask, winners)
    needed = (for_queries, for_documents)
    if _on_card(queries, documents):
        common = _common(queries, documents)
        found = cuda.maxsim_backward(
            cuda.Items.padded(queries.to(common), query_mask),
            cuda.Items.padded(documents.to(common), document_mask),
            winners,
            grad,
            per_query=documents.shape[1] if documents.dim() == 4 else 0,
            needed=needed,
            deterministic=deterministic,
        )
    elif documents.dim() == 4:
        found = _backward_pairs(grad, saved, needed, scratch_bytes)
    else:
        found = _backward(grad, saved, needed, scratch_bytes)
    gradients = (
        tensor.new_empty(0) if gradient is None else gradient.to(tensor.dtype).view(tensor.shape)
        for gradient, tensor in zip(found, (queries, documents), strict=True)
    )
    return next(gradients), next(gradients)


@_maxsim_backward.register_fake
def _(grad: Tensor, queries: Tensor, documents: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *_of_rows, for_queries, for_documents, _deterministic, _scratch_bytes = rest
    return (
        queries.new_empty(queries.shape if for_queries else 0),
        documents.new_empty(documents.shape if for_documents else 0),
    )


def _on_card(queries: Tensor, documents: Tensor) -> bool:
    """Whether the kernels of a CUDA device do it; a warning says why not where they could be had."""
    made_for = _wide(queries, documents) == torch.float32 and 1 <= queries.shape[-1] <= MAX_DIM
    if not (cuda.is_there(queries) and made_for):
        return False
    reason = cuda.why_not(queries.device)
    if reason is not None:
        warnings.warn(f"MaxSim on {queries.device} uses torch's own product, which is slower: {reason}", stacklevel=2)
    return reason is None


def _wide(queries: Tensor, documents: Tensor) -> torch.dtype:
    """The type that sums are kept in: at least float32."""
    if queries.dtype in QUANTIZED:
        return torch.float32
    return torch.promote_types(torch.promote_types(queries.dtype, documents.dtype), torch.float32)


def _common(queries: Tensor, documents: Tensor) -> torch.dtype:
    """The one type that both sides are multiplied in."""
    return queries.dtype if queries.dtype == documents.dtype else torch.promote_types(queries.dtype, documents.dtype)


def _winner_type(documents: Tensor) -> torch.dtype:
    return torch.int16 if documents.shape[-2] <= torch.iinfo(torch.int16).max else torch.int32


def _no_winners(scores_BC: Tensor, documents: Tensor) -> Tensor:
    return scores_BC.new_empty((0, scores_BC.shape[1]), dtype=_winner_type(documents))


def _forward(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor | None,
    document_mask: Tensor | None,
    query_scales: Tensor | None,
    document_scales: Tensor | None,
    winners: bool,
    scratch_bytes: int,
) -> tuple[Tensor, Tensor]:
    """Scores (B, N) and, if they are wanted, the document rows that won, (R, N)."""
    (B, Lq, D), (N, Ld, _) = queries.shape, documents.shape
    wide = _wide(queries, documents)
    scores_BN = torch.full((B, N), -torch.inf, dtype=wide, device=queries.device)
    index_type = _winner_type(documents)
    argmax_RN = torch.zeros((B * Lq if winners else 0, N), dtype=index_type, device=queries.device)
    if Ld == 0:
        return scores_BN, argmax_RN
    rows_RD = queries.reshape(B * Lq, D)
    budget = max(1, scratch_bytes // wide.itemsize)
    documents_at_once = max(1, min(N, budget // max(Ld, Ld * min(B * Lq, 1024), B * Lq)))
    rows_at_once = max(1, budget // (Ld * documents_at_once))
    for n in range(0, N, documents_at_once):
        chunk_nLD = documents[n : n + documents_at_once].to(wide)
        best_Rn = torch.empty((B * Lq, len(chunk_nLD)), dtype=wide, device=queries.device)
        flat_DM = chunk_nLD.reshape(-1, D).T
        hidden_M = None if document_mask is None else ~document_mask[n : n + documents_at_once].reshape(-1)
        scale_M = None if document_scales is None else document_scales[n : n + documents_at_once].reshape(-1)
        for r in range(0, B * Lq, rows_at_once):
            similarities_rM = rows_RD[r : r + rows_at_once].to(wide) @ flat_DM
            if scale_M is not None:
                similarities_rM *= scale_M
            if query_scales is not None:
                similarities_rM *= query_scales.reshape(-1, 1)[r : r + rows_at_once]
            if hidden_M is not None:
                similarities_rM.masked_fill_(hidden_M, -torch.inf)
            best = similarities_rM.view(len(similarities_rM), len(chunk_nLD), Ld).max(dim=2)
            best_Rn[r : r + rows_at_once] = best.values
            if winners:
                argmax_RN[r : r + rows_at_once, n : n + documents_at_once] = best.indices.to(index_type)
            del similarities_rM, best  # else they live until the next are made: twice scratch_bytes
        if query_mask is not None:
            best_Rn.masked_fill_(~query_mask.reshape(-1, 1), 0)
        scores_BN[:, n : n + documents_at_once] = best_Rn.view(B, Lq, len(chunk_nLD)).sum(dim=1)
    if document_mask is not None:
        scores_BN.masked_fill_(~document_mask.any(dim=1), -torch.inf)
    return scores_BN, argmax_RN


def _forward_pairs(queries: Tensor, documents: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """The same of each query with its own documents, one query after another: (B, n) and (R, n)."""
    *of_rows, winners, scratch_bytes = rest
    (B, Lq, _), n = queries.shape, documents.shape[1]
    scores_Bn = queries.new_empty((B, n), dtype=_wide(queries, documents))
    argmax_Rn = queries.new_zeros((B * Lq if winners else 0, n), dtype=_winner_type(documents))
    for b in range(B):
        query_mask, document_mask, query_scales, document_scales = (None if of is None else of[b] for of in of_rows)
        own = (
            None if query_mask is None else query_mask[None],
            document_mask,
            None if query_scales is None else query_scales[None],
            document_scales,
        )
        scores_1n, winners_Ln = _forward(queries[b : b + 1], documents[b], *own, winners, scratch_bytes)
        scores_Bn[b] = scores_1n[0]
        if winners:
            argmax_Rn[b * Lq : (b + 1) * Lq] = winners_Ln
    return scores_Bn, argmax_Rn


def _backward(
    grad_BN: Tensor,
    saved: tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor],
    needed: tuple[bool, bool],
    scratch_bytes: int,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of queries (B, Lq, D) and documents (N, Ld, D) in the wide type.

    Row r of query b and document n meet in one pair of rows, so the gradient of all similarities is a sparse
    (R, N * Ld) matrix with one entry grad_BN[b, n] for each (r, n); two sparse products give both results.
    """
    queries, documents, query_mask, document_mask, argmax_RN = saved
    (B, Lq, D), (N, Ld, _) = queries.shape, documents.shape
    wide = _wide(queries, documents)
    queries_RD, documents_MD = queries.reshape(B * Lq, D).to(wide), documents.reshape(N * Ld, D).to(wide)
    grad_RD, grad_MD = torch.zeros_like(queries_RD), torch.zeros_like(documents_MD)
    weight_BN = grad_BN.to(wide)
    if document_mask is not None:  # not a product with 0: what arrives for a score of -inf may be NaN
        weight_BN = weight_BN.masked_fill(~document_mask.any(dim=1), 0)
    first_M = torch.arange(N, device=queries.device) * Ld
    rows_at_once = max(1, scratch_bytes // (max(1, N) * 32))  # an entry is two int64 places, built from two more
    for r in range(0, B * Lq if N * Ld else 0, rows_at_once):
        rows = torch.arange(r, min(B * Lq, r + rows_at_once), device=queries.device)
        weight_rN = weight_BN[rows // Lq]
        if query_mask is not None:
            weight_rN = weight_rN.masked_fill(~query_mask.reshape(-1, 1)[rows], 0)
        places = torch.stack([(rows - r).repeat_interleave(N), (first_M + argmax_RN[rows]).reshape(-1)])
        size = (len(rows), N * Ld)
        weights_rM = torch.sparse_coo_tensor(places, weight_rN.reshape(-1), size, check_invariants=False)
        if needed[0]:
            grad_RD[r : r + rows_at_once] = weights_rM @ documents_MD
        if needed[1]:
            grad_MD += weights_rM.T @ queries_RD[r : r + rows_at_once]
        del places, weight_rN, weights_rM
    return grad_RD.view(B, Lq, D) if needed[0] else None, grad_MD.view(N, Ld, D) if needed[1] else None


def _backward_pairs(
    grad_Bn: Tensor,
    saved: tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor],
    needed: tuple[bool, bool],
    scratch_bytes: int,
) -> tuple[Tensor | None, Tensor | None]:
    """The same of pairs: (B, Lq, D) and (B, n, Ld, D), in the tensors' own types."""
    queries, documents, query_mask, document_mask, argmax_Rn = saved
    B, Lq, _ = queries.shape
    gradients = tuple(
        torch.empty_like(of, memory_format=torch.contiguous_format) if wanted else None
        for of, wanted in zip((queries, documents), needed, strict=True)
    )
    for b in range(B):
        own = (
            queries[b : b + 1],
            documents[b],
            None if query_mask is None else query_mask[b : b + 1],
            None if document_mask is None else document_mask[b],
            argmax_Rn[b * Lq : (b + 1) * Lq],
        )
        found = _backward(grad_Bn[b : b + 1], own, needed, scratch_bytes)
        for gradient, part in zip(gradients, found, strict=True):
            if gradient is not None and part is not None:
                gradient[b] = part.to(gradient.dtype).view(gradient[b].shape)
    return gradients[0], gradients[1]
