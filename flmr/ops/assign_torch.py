"""The nearest centroids of torch tensors, the means of codes, and products, on the device where the tensors lie.

Knows vectors, codes and the roundings of flmr.ops.assign, whose functions come here when they are given tensors, as do
those of means and multiply; knows nothing of clusters.  On a CUDA device nothing but sizes crosses to the host; on the
processor the native kernels read the tensors in place.
"""

# T vectors, K centroids, D dim.

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from flmr.errors import InvalidInput, NativeError
from flmr.ops import cuda
from flmr.ops.arrays import in_memory, same
from flmr.ops.assign import LEAST, MAX_ROUNDED, assign, assign_rounded, round_rows
from flmr.ops.means import means
from flmr.ops.multiply import multiply

CHUNK_BYTES = 64 << 20  # of float32 rows that are worked on at a time
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
P = ParamSpec("P")
R = TypeVar("R")


def _on_device(op: Callable[P, R]) -> Callable[P, R]:
    """Without gradients, and with one line where the device of the first tensor has no room."""

    @wraps(op)
    @torch.no_grad()
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        place: Any = getattr(args[0], "device", None)
        with cuda.told_of_memory(place):
            return op(*args, **kwargs)

    return run


@_on_device
def assign_tensors(vectors_TD: Tensor, centroids_KD: Tensor) -> tuple[Tensor, Tensor]:
    """As `assign`: codes (T,) int32 and squared distances (T,) float32, on the device of the vectors.

    Each float32, float16 or bfloat16.  A CUDA device multiplies the two in the wider of their types, which holds both
    exactly, and adds up in float32 in another order than the processor: two centroids that are equally near up to that
    rounding may change places.
    """
    _check(vectors_TD, centroids_KD, FLOATS)
    if not _on_card(vectors_TD):
        return _native(assign, vectors_TD, centroids_KD.float())
    common = torch.promote_types(vectors_TD.dtype, centroids_KD.dtype)
    half_K = (centroids_KD.double().square().sum(dim=1) / 2).float()
    centroids = cuda.Items.whole(centroids_KD.to(common))
    codes_T = vectors_TD.new_empty(len(vectors_TD), dtype=torch.int32)
    for here in _chunks(vectors_TD):
        codes_T[here], _ = cuda.assign(cuda.Items.whole(vectors_TD[here].to(common)), centroids, half_K)
        codes_T[here].masked_fill_(vectors_TD[here].isnan().any(dim=1), 0)
    return codes_T, _distances(vectors_TD, codes_T, centroids_KD.float())


@_on_device
def round_tensors(rows_ND: Tensor) -> tuple[Tensor, Tensor]:
    """As `round_rows`, to the bit: (N, D) int8, (N,) float32.  Rows of float32, float16 or bfloat16."""
    _check_rows("rows", rows_ND, FLOATS)
    if not _on_card(rows_ND):
        return _native(round_rows, rows_ND)
    values_ND = rows_ND.new_empty(rows_ND.shape, dtype=torch.int8)
    scales_N = rows_ND.new_empty(len(rows_ND), dtype=torch.float32)
    for here in _chunks(rows_ND):
        values_ND[here], scales_N[here] = _rounded(rows_ND[here])
    return values_ND, scales_N


@_on_device
def assign_rounded_tensors(
    vectors_TD: Tensor, centroids_KD: Tensor, scales_K: Tensor, *, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    """As `assign_rounded`: codes (T,) int32 and squared distances (T,) float32, on the device of the vectors.

    Vectors of float32, float16 or bfloat16, centroids of int8.  Products are of the same bytes.  What is made of them
    is rounded in another order, so that two centroids that are equally near up to a few units in the last place of
    float32 may change places.
    """
    _check(vectors_TD, centroids_KD, (torch.int8,))
    same("K", centroids=len(centroids_KD), scales=len(scales_K))
    if len(centroids_KD) > MAX_ROUNDED:
        raise InvalidInput(f"there may be at most {MAX_ROUNDED:,} centroids, not {len(centroids_KD):,}")
    if not _on_card(vectors_TD):
        return _native(partial(assign_rounded, threads=threads), vectors_TD, centroids_KD, scales_K)
    half_K = (scales_K.double().square() * centroids_KD.double().square().sum(dim=1) / 2).float()
    centroids = cuda.Items.whole(centroids_KD, scales_K)
    codes_T = vectors_TD.new_empty(len(vectors_TD), dtype=torch.int32)
    for here in _chunks(vectors_TD):
        codes_T[here], _ = cuda.assign(cuda.Items.whole(*_rounded(vectors_TD[here])), centroids, half_K)
        codes_T[here].masked_fill_(~vectors_TD[here].isfinite().all(dim=1), 0)
    return codes_T, _distances(vectors_TD, codes_T, centroids_KD.float() * scales_K[:, None])


@_on_device
def means_tensors(
    vectors_TD: Tensor, codes_T: Tensor, num_codes: int, *, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    """As `means`, of float32, float16 or bfloat16: (K, D) float32, (K,) int64.

    On a CUDA device the float64 sums are added in any order, so that a mean may differ in its last bit; in a fixed one
    under torch.use_deterministic_algorithms.
    """
    _check_rows("vectors", vectors_TD, FLOATS)
    same("T", vectors=len(vectors_TD), codes=len(codes_T))
    if not _on_card(vectors_TD):
        return _native(
            lambda vectors, codes: means(vectors, codes.astype("uint16"), num_codes, threads=threads),
            vectors_TD,
            codes_T,
        )
    places_T = codes_T.long()
    sums_KD = vectors_TD.new_zeros((num_codes, vectors_TD.shape[1]), dtype=torch.float64)
    for here in _chunks(vectors_TD):
        sums_KD.index_add_(0, places_T[here], vectors_TD[here].double())
    counts_K = torch.bincount(places_T, minlength=num_codes)
    return (sums_KD / counts_K.clamp(min=1)[:, None]).float(), counts_K


@_on_device
def multiply_tensors(vectors_TD: Tensor, rows_ED: Tensor, *, threads: int | None = None) -> Tensor:
    """As `multiply`.  On a CUDA device in float64: what it makes of float32 products depends on its settings (TF32) and
    on the number of vectors; rounded from float64 they are as near as float32 can be, in any company.
    """
    _check_rows("vectors", vectors_TD, FLOATS)
    _check_rows("rows", rows_ED, FLOATS)
    same("D", vectors=vectors_TD.shape[1], rows=rows_ED.shape[1])
    if not _on_card(vectors_TD):
        return torch.from_numpy(multiply(in_memory(vectors_TD), in_memory(rows_ED), threads=threads))
    rows_DE = rows_ED.double().T
    found_TE = vectors_TD.new_empty((len(vectors_TD), len(rows_ED)), dtype=torch.float32)
    for here in _chunks(vectors_TD):
        found_TE[here] = vectors_TD[here].double() @ rows_DE
    return found_TE


def _rounded(rows_ND: Tensor) -> tuple[Tensor, Tensor]:
    rows_ND = rows_ND.float()
    most_N = rows_ND.abs().amax(dim=1)
    steps = torch.full_like(most_N, 127)  # a tensor: a number would become a product with its inverse
    inverse_N = torch.where(most_N >= float(LEAST), steps / most_N, torch.ones_like(most_N))
    finite_N = most_N.isfinite()
    values_ND = (rows_ND * inverse_N[:, None]).round_().where(finite_N[:, None], 0.0)
    return values_ND.to(torch.int8), (most_N / steps).where(finite_N, 0.0)


def _distances(vectors_TD: Tensor, codes_T: Tensor, centroids_KD: Tensor) -> Tensor:
    distances_T = vectors_TD.new_empty(len(vectors_TD), dtype=torch.float32)
    for here in _chunks(vectors_TD):
        distances_T[here] = (vectors_TD[here].float() - centroids_KD[codes_T[here].long()]).square_().sum(dim=1)
    return distances_T


def _chunks(vectors_TD: Tensor) -> Iterator[slice]:
    step = max(1, CHUNK_BYTES // (4 * max(1, vectors_TD.shape[1])))
    for first in range(0, len(vectors_TD), step):
        yield slice(first, first + step)


def _check_rows(name: str, rows_TD: Tensor, types: tuple[torch.dtype, ...]) -> None:
    """Raises InvalidInput, on the processor as on a card, where it is no matrix of one of the types."""
    if not isinstance(rows_TD, Tensor) or rows_TD.dim() != 2:
        raise InvalidInput(f"{name} must be a tensor of shape (rows, D)")
    if rows_TD.dtype not in types:
        known = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        raise InvalidInput(f"{name} must be {known}, not {str(rows_TD.dtype).removeprefix('torch.')}; cast it first")


def _check(vectors_TD: Tensor, centroids_KD: Tensor, of_centroids: tuple[torch.dtype, ...]) -> None:
    _check_rows("vectors", vectors_TD, FLOATS)
    _check_rows("centroids", centroids_KD, of_centroids)
    same("D", vectors=vectors_TD.shape[1], centroids=centroids_KD.shape[1])
    if len(centroids_KD) == 0 or vectors_TD.shape[1] == 0:
        raise InvalidInput("there must be at least one centroid of at least one dimension")
    if vectors_TD.device != centroids_KD.device:
        raise InvalidInput(
            f"vectors are on {vectors_TD.device} and centroids on {centroids_KD.device}; move one of them"
        )


def _on_card(tensor: Tensor) -> bool:
    """Whether the kernels of a CUDA device do it; raises NativeError where they should and cannot."""
    if not cuda.is_there(tensor):
        return False
    reason = cuda.why_not(tensor.device)
    if reason is not None:
        raise NativeError(f"{reason}; or give vectors in the processor's memory")
    return True


def _native(op: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, Tensor]:
    first, second = op(*map(in_memory, tensors))
    return torch.from_numpy(first.astype("int32") if first.dtype.kind == "u" else first), torch.from_numpy(second)
