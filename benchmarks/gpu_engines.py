"""Who computes MaxSim and nearest centroids on a GPU: our paths, plain torch, torch.compile and two packages of Triton.

Knows how each is called, by its documentation, and why one cannot be.  Knows no sizes and no clock.

torch.compile runs with "max-autotune-no-cudagraphs": the queue is filled before a call is timed, so graphs would save
nothing here, and they would copy the inputs that go round into buffers of their own.
"""

# B queries, N documents, Lq and Ld rows of each, D dim; T vectors, K centroids.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module, metadata
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_rows import OURS, is_ours
from flmr import __version__
from flmr.errors import NativeError
from flmr.ops import native
from flmr.ops.assign import assign, assign_rounded, round_rows
from flmr.ops.maxsim import maxsim, maxsim_pairs

Scores = Callable[[Tensor, Tensor], Tensor]
PLAIN, COMPILED = "plain torch", "torch.compile"
PACKAGES = {
    "flash-maxsim": ("flash_maxsim", "0.3.0"),
    "late-interaction-kernels": ("late_interaction_kernels", "0.4.5"),
}
BYTES_AT_ONCE = 1 << 32  # of products with centroids that plain torch holds


@dataclass(frozen=True)
class Engine:
    """One way to compute it.  missing: why it cannot be run here; else `scores` runs it."""

    name: str
    version: str
    scores: Callable[..., Any] | None = None
    missing: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is a path of ours."""
        return is_ours(self.name)


def maxsim_engines(device: torch.device, paths: tuple[str, ...], *, training: bool) -> list[Engine]:
    """Scores (B, N) of queries (B, Lq, D) and documents (N, Ld, D), differentiable for training; ours first."""
    return [
        *_ours(paths, maxsim),
        Engine(PLAIN, torch.__version__, plain_maxsim),
        _package("flash-maxsim", device, _flash_training if training else _flash_forward),
        _package("late-interaction-kernels", device, lambda package: package.maxsim),
        _compiled(device, plain_maxsim),
    ]


def pair_engines(device: torch.device, paths: tuple[str, ...]) -> list[Engine]:
    """Scores (B, n) of queries (B, Lq, D) and each one's own documents (B, n, Ld, D); ours first."""
    return [
        *_ours(paths, maxsim_pairs),
        Engine(PLAIN, torch.__version__, plain_pairs),
        _package("flash-maxsim", device, _flash_pairs),
        _package("late-interaction-kernels", device, lambda package: package.maxsim),
    ]


def assign_engines(device: torch.device, paths: tuple[str, ...]) -> list[Engine]:
    """Codes (T,) of vectors (T, D) and centroids (K, D) of one type; ours first."""
    compiled = _compiled(device, nearest_in_torch)
    if compiled.scores is not None:
        compiled = replace(compiled, scores=partial(plain_assign, nearest=compiled.scores))
    return [*_ours(paths, our_assign), Engine(PLAIN, torch.__version__, plain_assign), compiled]


def rounded_engines(paths: tuple[str, ...]) -> list[Engine]:
    """Codes of ours from bytes."""
    return _ours(paths, our_rounded_assign)


def plain_maxsim(queries_BLD: Tensor, documents_NLD: Tensor) -> Tensor:
    """The formula in one product of all rows, in the inputs' type, as it is written in papers."""
    similarities_BNLL = torch.einsum("bqd,nkd->bnqk", queries_BLD, documents_NLD)
    return similarities_BNLL.amax(-1).sum(-1, dtype=torch.promote_types(queries_BLD.dtype, torch.float32))


def plain_pairs(queries_BLD: Tensor, documents_BnLD: Tensor) -> Tensor:
    """The same for each query's own documents."""
    similarities_BnLL = torch.einsum("bqd,bnkd->bnqk", queries_BLD, documents_BnLD)
    return similarities_BnLL.amax(-1).sum(-1, dtype=torch.promote_types(queries_BLD.dtype, torch.float32))


def plain_assign(vectors_TD: Tensor, centroids_KD: Tensor, nearest: Callable[..., Tensor] | None = None) -> Tensor:
    """Rows of the nearest centroids (T,), products in their type, equal parts of the vectors at a time."""
    at_once = max(1, BYTES_AT_ONCE // (4 * len(centroids_KD)))
    at_once = next(size for size in range(min(at_once, len(vectors_TD)), 0, -1) if len(vectors_TD) % size == 0)
    columns_DK = centroids_KD.T.contiguous()
    half_norms_K = centroids_KD.float().square().sum(1) / 2
    nearest = nearest or nearest_in_torch
    return torch.cat([nearest(part, columns_DK, half_norms_K) for part in vectors_TD.split(at_once)])


def nearest_in_torch(vectors_TD: Tensor, columns_DK: Tensor, half_norms_K: Tensor) -> Tensor:
    """The nearest centroid of each vector (T,): the most x.c - |c|^2 / 2."""
    return ((vectors_TD @ columns_DK).float() - half_norms_K).argmax(1)


def our_assign(vectors_TD: Tensor, centroids_KD: Tensor) -> Tensor:
    """Ours on the tensors' device: (T,)."""
    return assign(vectors_TD, centroids_KD)[0]


def our_rounded_assign(vectors_TD: Tensor, centroids_KD: Tensor) -> Tensor:
    """What k-means does: both sides rounded to bytes, the vectors within the call."""
    return assign_rounded(vectors_TD, *round_rows(centroids_KD))[0]


def _ours(paths: tuple[str, ...], function: Callable[..., Tensor]) -> list[Engine]:
    return [Engine(OURS + path, __version__, partial(_on_path, path, function)) for path in paths]


def choose_path(path: str) -> None:
    """Let the CUDA kernels take a path; "cpu" is the processor's, where there is nothing to choose."""
    if path != "cpu" and native.cuda_function("set_path")(path.encode()) != 0:
        raise NativeError(f"the CUDA library has no path {path!r}")


def _on_path(path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    choose_path(path)
    return function(*args, **kwargs)


def _flash_forward(package: Any) -> Scores:
    def scores(queries_BLD: Tensor, documents_NLD: Tensor) -> Tensor:
        if len(queries_BLD) == 1:
            return package.flash_maxsim(queries_BLD[0], documents_NLD)[None]
        return package.flash_maxsim_batched(queries_BLD, documents_NLD, shared_docs=True)

    return scores


def _flash_training(package: Any) -> Scores:
    return partial(package.flash_maxsim_batched_train, shared_docs=True)


def _flash_pairs(package: Any) -> Scores:
    return partial(package.flash_maxsim_batched_train, shared_docs=False)


def _compiled(device: torch.device, function: Callable[..., Any]) -> Engine:
    if device.type != "cuda":
        return Engine(COMPILED, torch.__version__, missing="compiled for CUDA alone")
    compiled = torch.compile(function, mode="max-autotune-no-cudagraphs", dynamic=False)
    return Engine(COMPILED, torch.__version__, compiled)


def _package(name: str, device: torch.device, scores_of: Callable[[Any], Scores]) -> Engine:
    module, tested = PACKAGES[name]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Engine(name, "", missing=f"{tested} is not installed")
    if version != tested:
        return Engine(name, version, missing=f"{version} is installed, not {tested}")
    if device.type != "cuda":
        return Engine(name, version, missing="its kernels are for CUDA")
    try:
        return Engine(name, version, scores_of(import_module(module)))
    except (ImportError, AttributeError) as error:  # no Triton, or an entry that its documentation does not name
        return Engine(name, version, missing=f"cannot be used: {type(error).__name__}: {error}".splitlines()[0])
