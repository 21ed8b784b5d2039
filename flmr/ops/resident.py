"""Vectors of items in a CUDA device's memory, and which items may be the best of all for a query.

Knows packed vectors, the kernel's rounding and how much memory there is.  Knows nothing of segments, ids or scores that
anybody sees: what is said here is who may be among the best; the scores are made by who stores the vectors.  (Codes in
device memory would be searched behind the same door.)  Imports torch, so it is imported where a device is asked for.

Queries are rounded to the type of the vectors, and sums are rounded in another order than on the processor.  How much a
score may change by that is bounded for each query; whoever is nearer to the best than twice that is named as well, so
that the best by exact scores are always among those named.
"""

# B queries of Q rows, N items of T rows, D dim.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flmr.ops import cuda
from flmr.ops.arrays import Array, count_items, ready

CHUNK_BYTES = 1 << 30  # of vectors that are scored by one call, and sent by one where they are not held
HELD_SHARE = 0.8  # of the memory that is free at first


class Resident:
    """Vectors of one set of items, held on the device as far as its memory goes; the rest is sent for every search."""

    def __init__(
        self,
        offsets_N1: Array,
        vectors_TD: Array,
        *,
        held_bytes: int | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        scratch_bytes: int = cuda.SCRATCH_BYTES,
    ) -> None:
        """Offsets int64 and vectors float16 or float32, which are read when they are first needed.

        held_bytes: of vectors that stay there, None for most of what is
        free.  Raises InvalidInput on a wrong type or shape, NativeError where there is no device.
        """
        self._offsets = ready("offsets", offsets_N1, np.int64, ndim=1)
        self._vectors = ready("vectors", vectors_TD, np.float32, np.float16, ndim=2)
        self._device = cuda.the_device()
        self._scratch_bytes = scratch_bytes
        row_bytes = self._vectors.itemsize * self._vectors.shape[1]
        self._chunks = cut(self._offsets, max(1, chunk_bytes // row_bytes))
        if held_bytes is None:
            held_bytes = int(HELD_SHARE * cuda.free_bytes(self._device))
        self._room = held_bytes
        self._held: dict[int, _Chunk] = {}
        self._one_at_a_time = Lock()  # memory is planned for one search

    def best(self, queries: Sequence[Array], k: int, items: Array | None = None) -> list[NDArray[np.uint32]]:
        """Of each query the items, ascending, that hold its best k by exact scores, and few others.

        queries: (Q, D) float32, finite, Q >= 1.  items: uint32, ascending, to choose from; None for all.  An item
        without rows is never named.  Raises NativeError where the device's memory does not do.
        """
        if not queries:
            return []
        with self._one_at_a_time:
            asked = _Queries(queries, self._vectors.dtype, self._device)
            found: list[list[_Near]] = [[] for _ in queries]
            longest_row = 0.0
            for number, (first, end) in enumerate(self._chunks):
                wanted = None if items is None else items[slice(*np.searchsorted(items, (first, end)))]
                if wanted is None or len(wanted):
                    chunk = self._chunk(number)
                    longest_row = max(longest_row, chunk.longest_row)
                    for query, near in enumerate(self._near(asked, k, chunk, wanted)):
                        found[query].append(near)
            margins_B = asked.margins(longest_row)
            return [_merged(parts, k, margin) for parts, margin in zip(found, margins_B, strict=True)]

    def _near(self, asked: _Queries, k: int, chunk: _Chunk, wanted: Array | None) -> list[_Near]:
        """Of each query the items of a chunk that score at least the k-th best there less the query's margin."""
        begins, ends = chunk.edges_N1[:-1], chunk.edges_N1[1:]
        if wanted is not None:
            places = torch.from_numpy(wanted.astype(np.int64) - chunk.first).to(self._device)
            begins, ends = begins[places], ends[places]
        documents = cuda.Items.ragged(chunk.rows_TD, begins, ends, chunk.longest)
        margins_B = torch.from_numpy(asked.margins(chunk.longest_row)).to(self._device)
        near: list[_Near] = []
        at_once = max(1, self._scratch_bytes // (4 * len(begins)))
        for b in range(0, len(asked), at_once):
            items_bN = asked.items(b, b + at_once)
            scores_bN, _ = cuda.maxsim_forward(items_bN, documents, scratch_bytes=self._scratch_bytes)
            kth_b = scores_bN.topk(min(k, scores_bN.shape[1]), dim=1).values[:, -1]
            # Not a number where a vector is damaged: then all are named.
            least_b = (kth_b - margins_B[b : b + at_once]).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
            rows, columns = ((scores_bN >= least_b[:, None]) & (scores_bN > -torch.inf)).nonzero(as_tuple=True)
            scores, row, column = (of.cpu().numpy() for of in (scores_bN[rows, columns], rows, columns))
            named = (column + chunk.first if wanted is None else wanted[column]).astype(np.uint32)
            edges = np.searchsorted(row, np.arange(1, items_bN.count))
            near += zip(np.split(scores, edges), np.split(named, edges), strict=True)
        return near

    def _chunk(self, number: int) -> _Chunk:
        if number in self._held:
            return self._held[number]
        first, end = self._chunks[number]
        edges_N1 = self._offsets[first : end + 1] - self._offsets[first]
        rows_TD = cuda.sent(self._vectors[self._offsets[first] : self._offsets[end]], self._device)
        with cuda.told_of_memory(self._device):
            norms_T = torch.linalg.vector_norm(rows_TD, dim=1, dtype=torch.float32)
            longest_row = float(norms_T.max()) if len(norms_T) else 0.0
            edges = torch.from_numpy(edges_N1).to(self._device)
        chunk = _Chunk(first, rows_TD, edges, int(np.diff(edges_N1).max()), longest_row)
        if rows_TD.nbytes <= self._room:
            self._room -= rows_TD.nbytes
            self._held[number] = chunk
        return chunk


@dataclass(frozen=True)
class _Chunk:
    """Items from `first` on: their rows on the device, where each begins there, and the longest item and row."""

    first: int
    rows_TD: Tensor
    edges_N1: Tensor
    longest: int
    longest_row: float


_Near = tuple[NDArray[np.float32], NDArray[np.uint32]]  # scores as the device rounds them, items


class _Queries:
    """Queries on the device in the vectors' type, each shrunk by a power of two where that type has no room for it."""

    def __init__(self, queries: Sequence[Array], dtype: Any, device: torch.device) -> None:
        self._lengths = [len(query) for query in queries]
        rows_QD = np.concatenate(queries).astype(np.float64)
        of_row = np.repeat(np.arange(len(queries)), self._lengths)
        peaks = np.array([max(float(np.abs(query).max()), 2.0**-100) for query in queries])
        shrink = np.exp2(-np.floor(np.log2(peaks)))  # to 1 .. 2: float16 then rounds all but tiny numbers to 11 bits
        rows_QD *= shrink[of_row, None]
        rounded_QD = rows_QD.astype(dtype)
        lost, norms = (np.linalg.norm(of, axis=1) for of in (rounded_QD - rows_QD, rows_QD))
        dim = rows_QD.shape[1]
        counts = np.array(self._lengths)
        # Sums of D products and of Q maxima in float32, on the device (which may cut where others round) and here.
        sums = 4 * np.finfo(np.float32).eps * (dim + counts) * np.bincount(of_row, norms, len(queries))
        self._error = np.bincount(of_row, lost, len(queries)) + sums
        self._rows = torch.from_numpy(rounded_QD).to(device)
        self._edges = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])).to(device)

    def items(self, first: int, end: int) -> cuda.Items:
        edges = self._edges[first : end + 1]
        return cuda.Items.ragged(self._rows, edges[:-1], edges[1:], max(self._lengths[first:end]))

    def __len__(self) -> int:
        return len(self._lengths)

    def margins(self, longest_row: float) -> NDArray[np.float32]:
        """How far below the k-th best score an item of the best k may be, (B,)."""
        margins_B: NDArray[np.float32] = (2.0 * self._error * longest_row * (1 + 1e-5)).astype(np.float32)
        return margins_B


def cut(offsets_N1: Array, rows_at_once: int) -> list[tuple[int, int]]:
    """Ranges of items of at most so many rows together, or of one item that has more."""
    N = count_items(offsets_N1)
    edges = [0]
    while edges[-1] < N:
        last = int(np.searchsorted(offsets_N1, offsets_N1[edges[-1]] + rows_at_once, side="right")) - 1
        edges.append(min(max(last, edges[-1] + 1), N))
    return list(pairwise(edges))


def _merged(parts: list[_Near], k: int, margin: float) -> NDArray[np.uint32]:
    """The items of all chunks that score at least the k-th best of all less the margin, ascending."""
    scores, items = (np.concatenate([part[i] for part in parts]) if parts else np.empty(0) for i in (0, 1))
    if len(scores) <= k:
        return np.sort(items).astype(np.uint32)
    least = np.partition(scores, -k)[-k] - margin
    return np.sort(items[(scores >= least) | np.isnan(least)]).astype(np.uint32)
