"""MaxSim: for each query row the best dot product with any row of the document, summed over the query rows.

Knows multi-vectors and torch tensors; knows nothing of indexes or models.  Multi-vectors go to the native kernel,
tensors, which may ask for gradients, to the operators of flmr.ops.maxsim_torch.
Source: Khattab and Zaharia, "ColBERT", SIGIR 2020 (the sum of maxima).
"""

# B (Nq) queries, N (Nd) documents, Lq and Ld rows of each, D dim.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, overload

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, Device, Precision, in_precision, is_tensor, ready, same
from flmr.records import MultiVectors

if TYPE_CHECKING:
    from torch import Tensor

SCRATCH_BYTES = 256 << 20  # alive at one time beside inputs and results; larger gains nothing on a CPU
QUANTIZED = ("torch.int8", "torch.float8_e4m3fn")  # types of tensors whose rows may have a scale each


@overload
def maxsim(
    queries: MultiVectors,
    documents: MultiVectors,
    *,
    precision: Precision = "float32",
    threads: int | None = None,
    isa: str | None = None,
    device: Device = "cpu",
) -> NDArray[np.float32]: ...


@overload
def maxsim(
    queries: Tensor,
    documents: Tensor,
    *,
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
    query_scales: Tensor | None = None,
    document_scales: Tensor | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> Tensor: ...


def maxsim(
    queries: Any,
    documents: Any,
    *,
    query_mask: Any = None,
    document_mask: Any = None,
    query_scales: Any = None,
    document_scales: Any = None,
    precision: Precision = "float32",
    threads: int | None = None,
    isa: str | None = None,
    device: Device = "cpu",
    scratch_bytes: int = SCRATCH_BYTES,
) -> Any:
    """Score of every query against every document: (Nq, Nd).

    MultiVectors: a float32 array from the native kernel, on the processor or on the first CUDA device.  precision
    "bfloat16" (on the processor) rounds both sides to it before they are multiplied and sums in float32: about twice as
    fast where pairs of such numbers are multiplied natively, elsewhere no faster; it errs less than torch in bfloat16.
    Tensors (B, Lq, D) and (N, Ld, D), or (L, D) for a single item, with optional masks (B, Lq), (N, Ld) of the rows
    that count: a differentiable tensor, float32 for half-precision inputs, float64 for float64.  Tensors of int8 or
    float8_e4m3fn have no gradient; float32 scales (B, Lq), (N, Ld) multiply the products of their rows.  On a CUDA
    device the fused kernel does it in at most scratch_bytes, or, with a warning that says why, torch's own product.
    Under torch.use_deterministic_algorithms gradients are added in a fixed order.
    A document without rows scores -inf against every query and passes no gradient; a query without rows scores 0
    against the others.  Raises InvalidInput on wrong types or shapes, NativeError where the library or the device is
    missing.
    """
    if device not in get_args(Device):
        raise InvalidInput(f"device must be 'cpu' or 'cuda', not {device!r}")
    if isinstance(queries, MultiVectors) and isinstance(documents, MultiVectors):
        if any(of is not None for of in (query_mask, document_mask, query_scales, document_scales)):
            raise InvalidInput("multi-vectors take no masks and no scales: their items hold only the rows that count")
        same("D", queries=queries.dim, documents=documents.dim)
        if device == "cuda":
            if precision != "float32":
                raise InvalidInput(f"the CUDA kernel multiplies in float32, not in {precision}; leave precision out")
            return _maxsim_cuda(queries, documents)
        return _maxsim_native(queries, documents, precision, threads, isa)
    if not (is_tensor(queries) and is_tensor(documents)):
        kinds = f"{type(queries).__name__} and {type(documents).__name__}"
        raise InvalidInput(f"maxsim takes two MultiVectors or two torch tensors, not {kinds}")
    if precision != "float32":
        raise InvalidInput("tensors are multiplied in float32 or their own wider type; leave precision out")
    if device == "cuda" and not queries.is_cuda:
        raise InvalidInput(f"tensors are multiplied where they lie, on {queries.device}; move them with .cuda()")
    from flmr.ops.maxsim_torch import maxsim_tensors

    queries, query_mask, query_scales = _batched("queries", queries, query_mask, query_scales)
    documents, document_mask, document_scales = _batched("documents", documents, document_mask, document_scales)
    _check_pair(queries, documents)
    sides = (queries, documents, query_mask, document_mask, query_scales, document_scales)
    return maxsim_tensors(*sides, scratch_bytes)


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
    query_scales: Tensor | None = None,
    document_scales: Tensor | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> Tensor:
    """Score of each query against its own documents: tensors (B, Lq, D) x (B, n, Ld, D) -> (B, n), differentiable.

    Masks and scales (B, Lq) and (B, n, Ld); the rest and the errors as in `maxsim`.
    """
    if not (is_tensor(queries) and is_tensor(documents)) or queries.dim() != 3 or documents.dim() != 4:
        raise InvalidInput("maxsim_pairs takes tensors of shape (B, Lq, D) and (B, n, Ld, D)")
    from flmr.ops.maxsim_torch import maxsim_tensors

    same("B", queries=queries.shape[0], documents=documents.shape[0])
    for name, tensor, mask, scales in (
        ("queries", queries, query_mask, query_scales),
        ("documents", documents, document_mask, document_scales),
    ):
        _check_rows(name, tensor, mask, scales)
    _check_pair(queries, documents)
    sides = (queries, documents, query_mask, document_mask, query_scales, document_scales)
    return maxsim_tensors(*sides, scratch_bytes)


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


def _batched(
    name: str, tensor: Tensor, mask: Tensor | None, scales: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The tensor, its mask and its scales with a batch axis, checked."""
    if tensor.dim() == 2:
        tensor = tensor.unsqueeze(0)
        mask, scales = (of.unsqueeze(0) if of is not None and of.dim() == 1 else of for of in (mask, scales))
    if tensor.dim() != 3:
        raise InvalidInput(f"{name} must have shape (items, rows, D) or (rows, D), not {tuple(tensor.shape)}")
    _check_rows(name, tensor, mask, scales)
    return tensor, mask, scales


def _check_rows(name: str, tensor: Tensor, mask: Tensor | None, scales: Tensor | None) -> None:
    if not tensor.is_floating_point() and str(tensor.dtype) not in QUANTIZED:
        raise InvalidInput(f"{name} must hold floating-point numbers or int8, not {tensor.dtype}")
    if scales is not None and str(tensor.dtype) not in QUANTIZED:
        raise InvalidInput(f"{name} are {tensor.dtype}, and scales are for int8 and float8_e4m3fn; multiply them in")
    if str(tensor.dtype) in QUANTIZED and tensor.requires_grad:
        raise InvalidInput(f"{name} are {tensor.dtype}, which has no gradient; detach them, or give them as they were")
    for what, of, dtype in (("mask", mask, "torch.bool"), ("scales", scales, "torch.float32")):
        if of is None:
            continue
        if str(of.dtype) != dtype:
            raise InvalidInput(f"the {what} of {name} must be {dtype}, not {of.dtype}; cast with .to({dtype})")
        if of.shape != tensor.shape[:-1]:
            shape = tuple(tensor.shape[:-1])
            raise InvalidInput(f"the {what} of {name} must have shape {shape}, not {tuple(of.shape)}")
        if of.device != tensor.device:
            raise InvalidInput(f"{name} are on {tensor.device} and their {what} on {of.device}; move one of them")


def _check_pair(queries: Tensor, documents: Tensor) -> None:
    same("D", queries=queries.shape[-1], documents=documents.shape[-1])
    if queries.device != documents.device:
        raise InvalidInput(f"queries are on {queries.device} and documents on {documents.device}; move one of them")
    kinds = {str(queries.dtype), str(documents.dtype)}
    if len(kinds) > 1 and kinds & set(QUANTIZED):
        raise InvalidInput(f"queries are {queries.dtype} and documents {documents.dtype}; give both in one type")
