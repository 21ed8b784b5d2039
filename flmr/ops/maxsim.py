"""MaxSim: for each query row the best dot product with any row of the document, summed over the query rows.

Knows multi-vectors and torch tensors; knows nothing of indexes or models.  Multi-vectors go to the native kernel.
Tensors go through torch's own matrix product, a chunk at a time, with a backward pass of our own: what is kept of the
(queries x documents x Lq x Ld) similarities is which document row won, two or four bytes a query row and document.
Source: Khattab and Zaharia, "ColBERT", SIGIR 2020 (the sum of maxima).
"""

# B (Nq) queries, N (Nd) documents, Lq and Ld rows of each, D dim; R = B * Lq query rows.

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, Precision, in_precision, ready, same
from flmr.records import MultiVectors

if TYPE_CHECKING:
    from torch import Tensor, dtype

SCRATCH_BYTES = 256 << 20  # similarities alive at one time on the torch path; larger gains nothing on a CPU


@overload
def maxsim(
    queries: MultiVectors,
    documents: MultiVectors,
    *,
    precision: Precision = "float32",
    threads: int | None = None,
    isa: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> NDArray[np.float32]: ...


@overload
def maxsim(
    queries: Tensor,
    documents: Tensor,
    *,
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> Tensor: ...


def maxsim(
    queries: Any,
    documents: Any,
    *,
    query_mask: Any = None,
    document_mask: Any = None,
    precision: Precision = "float32",
    threads: int | None = None,
    isa: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    scratch_bytes: int = SCRATCH_BYTES,
) -> Any:
    """Score of every query against every document: (Nq, Nd).

    MultiVectors: a float32 array from the native kernel, on the processor or on the first CUDA device.  precision
    "bfloat16" (on the processor) rounds both sides to it before they are multiplied and sums in float32: about twice as
    fast where pairs of such numbers are multiplied natively, elsewhere no faster; it errs less than torch in bfloat16.
    Tensors (B, Lq, D) and (N, Ld, D), or (L, D) for a single item, with optional masks (B, Lq), (N, Ld) of the rows
    that count: a differentiable tensor, float32 for half-precision inputs, float64 for float64.
    A document without rows scores -inf against every query and passes no gradient; a query without rows scores 0
    against the others.  Raises InvalidInput on wrong types or shapes, NativeError where the library or the device is
    missing.
    """
    if isinstance(queries, MultiVectors) and isinstance(documents, MultiVectors):
        if query_mask is not None or document_mask is not None:
            raise InvalidInput("multi-vectors take no masks: their items hold only the rows that count")
        same("D", queries=queries.dim, documents=documents.dim)
        if device == "cuda":
            if precision != "float32":
                raise InvalidInput(f"the CUDA kernel multiplies in float32, not in {precision}; leave precision out")
            return _maxsim_cuda(queries, documents)
        return _maxsim_native(queries, documents, precision, threads, isa)
    if not (_is_tensor(queries) and _is_tensor(documents)):
        kinds = f"{type(queries).__name__} and {type(documents).__name__}"
        raise InvalidInput(f"maxsim takes two MultiVectors or two torch tensors, not {kinds}")
    if precision != "float32":
        raise InvalidInput("tensors are multiplied in float32 or their own wider type; leave precision out")
    queries, query_mask = _batched("queries", queries, query_mask)
    documents, document_mask = _batched("documents", documents, document_mask)
    _check_pair(queries, documents)
    return _maxsim_function().apply(queries, documents, query_mask, document_mask, scratch_bytes)


def maxsim_reference(
    queries: MultiVectors, documents: MultiVectors, *, precision: Precision = "float32"
) -> NDArray[np.float32]:
    """The same for MultiVectors in NumPy, with products and sums in float64."""
    scores_BN = np.full((len(queries), len(documents)), -np.inf, np.float32)
    for n, document in enumerate(documents):
        if len(document):
            for b, query in enumerate(queries):
                similarities = in_precision(query, precision) @ in_precision(document, precision).T
                scores_BN[b, n] = similarities.max(axis=1).sum()
    return scores_BN


def maxsim_pairs(
    queries: Tensor,
    documents: Tensor,
    *,
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> Tensor:
    """Score of each query against its own documents: tensors (B, Lq, D) x (B, n, Ld, D) -> (B, n), differentiable.

    Masks (B, Lq) and (B, n, Ld); the rest and the errors as in `maxsim`.
    """
    import torch

    if not (_is_tensor(queries) and _is_tensor(documents)) or queries.dim() != 3 or documents.dim() != 4:
        raise InvalidInput("maxsim_pairs takes tensors of shape (B, Lq, D) and (B, n, Ld, D)")
    same("B", queries=queries.shape[0], documents=documents.shape[0])
    _check_pair(queries, documents)
    _check_mask("query_mask", query_mask, queries)
    _check_mask("document_mask", document_mask, documents)
    if len(queries) == 0:
        return maxsim(queries, documents.flatten(0, 1)).reshape(0, documents.shape[1])
    query_masks = [None] * len(queries) if query_mask is None else query_mask.unsqueeze(1).unbind(0)
    document_masks = [None] * len(queries) if document_mask is None else document_mask.unbind(0)
    # unbind, not indexing: its backward stacks the B gradients once instead of adding B full-sized ones
    rows = [
        maxsim(query, document, query_mask=q_mask, document_mask=d_mask, scratch_bytes=scratch_bytes)
        for query, document, q_mask, d_mask in zip(
            queries.unsqueeze(1).unbind(0), documents.unbind(0), query_masks, document_masks, strict=True
        )
    ]
    return torch.cat(rows)


def _maxsim_native(
    queries: MultiVectors, documents: MultiVectors, precision: Precision, threads: int | None, isa: str | None
) -> NDArray[np.float32]:
    scores_BN = np.empty((len(queries), len(documents)), np.float32)
    arrays = (*_ready(queries), *_ready(documents), scores_BN)
    native.call("maxsim", *arrays, precision, native.thread_count(threads), native.isa(isa))
    return scores_BN


def _maxsim_cuda(queries: MultiVectors, documents: MultiVectors) -> NDArray[np.float32]:
    scores_BN = np.empty((len(queries), len(documents)), np.float32)
    ragged = []
    for item in (queries, documents):
        vectors, offsets = _ready(item)
        half = int(vectors.dtype == np.float16)
        ragged += [native.address(vectors), half, native.address(offsets), native.int64(len(item))]
    native.call_cuda("maxsim", *ragged, native.int64(queries.dim), native.address(scores_BN))
    return scores_BN


def _ready(item: MultiVectors) -> tuple[Array, Array]:
    vectors = ready("vectors", item.vectors, np.float32, np.float16, ndim=2)
    return vectors, ready("offsets", item.offsets, np.int64, ndim=1)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" or hasattr(value, "requires_grad_")


def _batched(name: str, tensor: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The tensor and its mask with a batch axis, checked."""
    if tensor.dim() == 2:
        tensor = tensor.unsqueeze(0)
        mask = mask.unsqueeze(0) if mask is not None and mask.dim() == 1 else mask
    if tensor.dim() != 3:
        raise InvalidInput(f"{name} must have shape (items, rows, D) or (rows, D), not {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise InvalidInput(f"{name} must hold floating-point numbers, not {tensor.dtype}")
    _check_mask(f"the mask of {name}", mask, tensor)
    return tensor, mask


def _check_mask(name: str, mask: Tensor | None, tensor: Tensor) -> None:
    import torch

    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise InvalidInput(f"{name} must be boolean, not {mask.dtype}; use mask.bool()")
    if mask.shape != tensor.shape[:-1]:
        raise InvalidInput(f"{name} must have shape {tuple(tensor.shape[:-1])}, not {tuple(mask.shape)}")


def _check_pair(queries: Tensor, documents: Tensor) -> None:
    same("D", queries=queries.shape[-1], documents=documents.shape[-1])
    if queries.device != documents.device:
        raise InvalidInput(f"queries are on {queries.device} and documents on {documents.device}; move one of them")


@cache
def _maxsim_function() -> Any:
    """The autograd function, made when torch is first needed."""
    import torch

    class MaxSim(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            queries: Tensor,
            documents: Tensor,
            query_mask: Tensor | None,
            document_mask: Tensor | None,
            scratch_bytes: int,
        ) -> Tensor:
            scores_BN, argmax_RN = _forward(queries, documents, query_mask, document_mask, scratch_bytes)
            ctx.scratch_bytes = scratch_bytes
            ctx.save_for_backward(queries, documents, query_mask, document_mask, argmax_RN)
            return scores_BN

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, grad_BN: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
            needed = (ctx.needs_input_grad[0], ctx.needs_input_grad[1])
            return *_backward(grad_BN, ctx.saved_tensors, needed, ctx.scratch_bytes), None, None, None

    return MaxSim


def _wide(queries: Tensor, documents: Tensor) -> dtype:
    """The type that sums are kept in: at least float32."""
    import torch

    return torch.promote_types(torch.promote_types(queries.dtype, documents.dtype), torch.float32)


def _forward(
    queries: Tensor, documents: Tensor, query_mask: Tensor | None, document_mask: Tensor | None, scratch_bytes: int
) -> tuple[Tensor, Tensor]:
    """Scores (B, N) and, for each query row and document, the document row that won: (R, N) int16 or int32."""
    import torch

    (B, Lq, D), (N, Ld, _) = queries.shape, documents.shape
    wide = _wide(queries, documents)
    scores_BN = torch.full((B, N), -torch.inf, dtype=wide, device=queries.device)
    index_type = torch.int16 if Ld <= torch.iinfo(torch.int16).max else torch.int32
    argmax_RN = torch.zeros((B * Lq, N), dtype=index_type, device=queries.device)
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
        for r in range(0, B * Lq, rows_at_once):
            similarities_rM = rows_RD[r : r + rows_at_once].to(wide) @ flat_DM
            if hidden_M is not None:
                similarities_rM.masked_fill_(hidden_M, -torch.inf)
            best = similarities_rM.view(len(similarities_rM), len(chunk_nLD), Ld).max(dim=2)
            best_Rn[r : r + rows_at_once] = best.values
            argmax_RN[r : r + rows_at_once, n : n + documents_at_once] = best.indices.to(index_type)
            del similarities_rM, best  # else they live until the next are made: twice scratch_bytes
        if query_mask is not None:
            best_Rn.masked_fill_(~query_mask.reshape(-1, 1), 0)
        scores_BN[:, n : n + documents_at_once] = best_Rn.view(B, Lq, len(chunk_nLD)).sum(dim=1)
    if document_mask is not None:
        scores_BN.masked_fill_(~document_mask.any(dim=1), -torch.inf)
    return scores_BN, argmax_RN


def _backward(
    grad_BN: Tensor,
    saved: tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor],
    needed: tuple[bool, bool],
    scratch_bytes: int,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of queries and documents.

    Row r of query b and document n meet in one pair of rows, so the gradient of all similarities is a sparse
    (R, N * Ld) matrix with one entry grad_BN[b, n] for each (r, n); two sparse products give both results.
    """
    import torch

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
    grad_q = grad_RD.view(B, Lq, D).to(queries.dtype) if needed[0] else None
    return grad_q, grad_MD.view(N, Ld, D).to(documents.dtype) if needed[1] else None
