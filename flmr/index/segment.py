"""A segment, opened: its files as read-only maps, and the ops applied to them.

Knows one segment's items, codes, lists and ids.  Knows nothing of deletions, other segments or how it was written.

Shapes: N items, T their packed rows, Q query rows, D dimension, K centroids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.codec import Codec
from flmr.index.far import mean_lengths
from flmr.index.format import (
    CODES,
    IDS,
    IDS_OFFSETS,
    IDS_ORDER,
    IDS_RANKS,
    LISTS,
    LISTS_OFFSETS,
    OFFSETS,
    PASSAGES,
    RESIDUALS,
    SCALES,
    SKETCH_SCALES,
    SKETCHES,
    VECTORS,
    Array,
    Layout,
)
from flmr.index.ids import Ids
from flmr.index.lazy import lazy
from flmr.index.manifest import RESTORE, SegmentRecord, read_segment_file
from flmr.index.passages import Passages
from flmr.index.store import file_size, map_array, naming, read_ahead
from flmr.ops.coded import Coded, Table, estimate, rough, score_codes
from flmr.ops.probe import probe
from flmr.ops.score import score_flat
from flmr.ops.sketch import sketch_scores

if TYPE_CHECKING:
    from flmr.ops.resident import Resident

# Of a file of so many bytes the system reads only what is asked for while less than a sixteenth of the items is wanted:
# with memory for a quarter of an index of 4 GB a search took 5.5 s when it read on from everywhere.
SPARSE_BYTES = 128 << 20
SPARSE_SHARE = 16
MANY_ROWS = 16_384  # decoded or copied together: then all of them will be


class Segment:
    """Immutable, and safe to share between threads, searchers and generations."""

    def __init__(self, folder: Path, record: SegmentRecord, codec: Codec | None) -> None:
        """Map the files of a segment; raises CorruptIndex where one has not the size or header it should have."""
        content = read_segment_file(folder, record)
        self.path = folder / record.name
        self.name = record.name
        self.codec = codec
        self.layout: Layout = content.layout
        self.bytes = sum(file.bytes for file in content.files.values()) + record.segment_file.bytes
        known = len(codec.centroids_KD) if codec else 0  # more than when it was written, where the codec has grown
        if self.layout.centroids > known or bool(self.layout.centroids) != bool(known):
            raise CorruptIndex(f"{self.path} was not written with its codec: {RESTORE}")
        for name, file in content.files.items():
            if file_size(self.path / name) != file.bytes:
                raise CorruptIndex(f"{self.path / name} has not the {file.bytes:,} bytes it should have: {RESTORE}")
        self._arrays = {name: map_array(self.path / name, kind) for name, kind in self.layout.arrays.items()}
        self._large = [
            array
            for name, array in self._arrays.items()
            if name in (RESIDUALS, VECTORS) and array.nbytes >= SPARSE_BYTES
        ]
        self._sparse = False
        self.ids = Ids(
            map_blob(self.path / IDS, self.layout.ids_bytes),
            self._arrays[IDS_OFFSETS],
            self._arrays[IDS_ORDER],
            self._arrays[IDS_RANKS],
        )
        self.passages = Passages(self.path / PASSAGES, self.layout.items) if self.layout.passages else None

    def __len__(self) -> int:
        return self.layout.items

    def array(self, name: str) -> np.ndarray:
        """One of its arrays by its file name."""
        self._expect(None)
        return self._arrays[name]

    @property
    def has_vectors(self) -> bool:
        """Whether the float16 vectors themselves are stored."""
        return VECTORS in self._arrays

    @lazy
    def offsets(self) -> np.ndarray:
        """Where the rows of each item lie, (N+1,) int64; raises CorruptIndex where they could not."""
        offsets_N1 = self._arrays[OFFSETS]
        if offsets_N1[0] != 0 or offsets_N1[-1] != self.layout.vectors or (np.diff(offsets_N1) < 0).any():
            raise CorruptIndex(f"{self.path / OFFSETS} is damaged: {RESTORE}")
        return offsets_N1

    @lazy
    def coded(self) -> Coded:
        """Its codes as the ops read them."""
        arrays = self._arrays
        return Coded(self.offsets, arrays[CODES], arrays[RESIDUALS], arrays[SCALES])

    @lazy
    def residual_lengths(self) -> np.ndarray:
        """How long the residuals of each item are on average, (N,) float32; 0 where it has none."""
        if self.codec is None:
            return np.zeros(len(self), np.float32)
        return mean_lengths(self.codec, self._arrays[SCALES], self.offsets)

    def candidates(self, centroid_scores_QK: np.ndarray, *, nprobe: int, threads: int | None) -> np.ndarray | None:
        """Items in the lists that the query's rows probe: uint32, ascending; None where it has no lists."""
        if not self.layout.list_bytes:
            return None
        nprobe = min(nprobe, self.layout.centroids)
        lists = (self._arrays[LISTS_OFFSETS], self._arrays[LISTS])
        known_QK = np.ascontiguousarray(centroid_scores_QK[:, : self.layout.centroids])  # the codec may have grown
        with self._trusting():
            return probe(known_QK, *lists, nprobe=nprobe, num_items=len(self), threads=threads)

    def rough(self, table: Table, items: np.ndarray | None, *, threads: int | None) -> np.ndarray:
        """Scores of items (None: all) from their codes alone: float32."""
        with self._trusting():
            return rough(table, self.coded, items, threads=threads)

    def means(self, rows_MD: np.ndarray, items: np.ndarray | None, *, threads: int | None) -> np.ndarray:
        """Products of rows with the sketched mean vectors of items (None: all): (M, items) float32."""
        assert self.codec is not None
        packed_NP, scales_N = self._arrays[SKETCHES], self._arrays[SKETCH_SCALES]
        if items is not None:
            packed_NP, scales_N = packed_NP[items], scales_N[items]
        return sketch_scores(rows_MD, packed_NP, scales_N, self.codec.scale_table, threads=threads)

    def estimate(self, table: Table, items: np.ndarray | None, *, threads: int | None) -> np.ndarray:
        """About the scores of items (None: all), from their codes and residuals: float32."""
        assert self.codec is not None
        self._expect(items)
        with self._trusting():
            return estimate(table, self.codec.book, self.coded, items, threads=threads)

    def score_codes(self, rotated_QD: np.ndarray, items: np.ndarray | None, *, threads: int | None) -> np.ndarray:
        """MaxSim of a rotated query against the codes of items (None: all): float32."""
        if self.codec is None:
            return np.full(len(self) if items is None else len(items), -np.inf, np.float32)
        self._expect(items)
        with self._trusting():
            return score_codes(rotated_QD, self.codec.book, self.coded, items, threads=threads)

    def score_vectors(self, query_QD: np.ndarray, items: np.ndarray | None, *, threads: int | None) -> np.ndarray:
        """MaxSim of a query against the stored float16 vectors of items (None: all): float32."""
        self._expect(items)
        with self._trusting():
            return score_flat(query_QD, items, self.offsets, self._arrays[VECTORS], threads=threads)

    def best_on_device(self, queries: Sequence[np.ndarray], k: int, items: np.ndarray | None) -> list[np.ndarray]:
        """Of each query the items (None: of all) that hold its best k by `score_vectors`, and few others: uint32.

        Raises InvalidInput where the vectors are not kept, NativeError where there is no CUDA device.
        """
        if not self.has_vectors:
            raise InvalidInput(
                f"{self.path} holds codes, and a CUDA device searches vectors: build the index with nbits=0 or"
                " keep_vectors=True, or search with device='cpu'"
            )
        return self._resident.best(queries, k, items)

    @lazy
    def _resident(self) -> Resident:
        """Its vectors in a CUDA device's memory, until the last snapshot that has the segment is gone."""
        from flmr.ops.resident import Resident

        return Resident(self.offsets, self._arrays[VECTORS])

    def vectors(self, row: int) -> np.ndarray:
        """The vectors of an item as they are stored, decompressed: (n, D) float32."""
        return self.stored(int(self.offsets[row]), int(self.offsets[row + 1])).astype(np.float32, copy=False)

    def stored(self, first: int, end: int) -> np.ndarray:
        """Rows first..end as they are scored: float16 where the vectors are kept, else decoded, float32."""
        if end - first >= MANY_ROWS:
            self._expect(None)
        return self._arrays[VECTORS][first:end] if self.has_vectors else self.decoded(first, end)

    def decoded(self, first: int, end: int) -> np.ndarray:
        """Rows first..end decoded from their codes: (end - first, D) float32."""
        if self.codec is None:
            return np.empty((0, self.layout.dim), np.float32)
        return self.codec.decode(*self.encoded(first, end))

    def encoded(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes, packed residuals and scales of rows first..end; raises CorruptIndex where a code cannot be."""
        if end - first >= MANY_ROWS:
            self._expect(None)
        return self.codes(slice(first, end)), self._arrays[RESIDUALS][first:end], self._arrays[SCALES][first:end]

    def codes(self, rows: slice | np.ndarray) -> np.ndarray:
        """Codes of rows; raises CorruptIndex where one cannot be."""
        codes_T = self._arrays[CODES][rows]
        if len(codes_T) and int(codes_T.max()) >= self.layout.centroids:
            raise CorruptIndex(f"{self.path / CODES} is damaged: {RESTORE}")
        return codes_T

    def _expect(self, items: np.ndarray | None) -> None:
        """Have large files read on from where they are looked at when many items are wanted, but not when few are."""
        sparse = items is not None and len(items) * SPARSE_SHARE < len(self)
        if sparse != self._sparse:
            self._sparse = sparse  # of two threads the later has its way; either costs but time
            for array in self._large:
                read_ahead(array, not sparse)

    def _trusting(self) -> _Trusting:
        return _Trusting(self.path)


class _Trusting:
    """The ops check every code, offset and item that they follow; what they refuse in a stored array is damage."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidInput):
            raise CorruptIndex(f"{self._path} is damaged ({error}); run verify, then {RESTORE}") from error


def map_blob(path: Path, size: int) -> np.ndarray:
    """A file of bytes as a read-only map: (size,) uint8."""
    if file_size(path) != size:
        raise CorruptIndex(f"{path} has not the {size:,} bytes it should have: {RESTORE}")
    with naming("read", path):
        return np.asarray(np.memmap(path, np.uint8, "r", 0, (size,))) if size else np.empty(0, np.uint8)


def map_gains(path: Path, kind: Array, unit: float) -> np.ndarray:
    """What sample queries gain on items: (2, N) float32; raises CorruptIndex where that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):  # said below
        gains_2N: np.ndarray = map_array(path, kind).astype(np.float32) * np.float32(unit)
    if not np.isfinite(gains_2N).all():
        raise CorruptIndex(f"{path} holds gains that are not finite: {RESTORE}")
    return gains_2N


def map_alive(path: Path, kind: Array, num_items: int) -> np.ndarray:
    """An alive bitmap, unpacked: (N,) bool."""
    return np.unpackbits(map_array(path, kind), count=num_items, bitorder="little").astype(bool)
