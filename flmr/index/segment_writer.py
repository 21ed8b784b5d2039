"""A segment that is being written: rows are appended, and at the end it is sealed, never to change again.

Knows the files of one segment and how to pack vectors into them in bounded memory.  Knows nothing of the index around
it: until a manifest names the segment it does not exist for anyone.

Vectors wait as float16 in a spool file (or in the vectors that are kept anyway) until the segment is sealed: only then
is all known that a codec must fit.  Where all is known from the beginning, they are packed as they come.  Vectors that
came as tensors on a CUDA device also wait there, as far as its memory goes, and are packed from there.

Shapes: N items, T their packed rows, D dimension, K centroids.
"""

from __future__ import annotations

import json
from array import array as compact
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flmr.index import codec as codecs
from flmr.index.codec import Codec, Rows
from flmr.index.drift import grown
from flmr.index.format import (
    CODES,
    HEADER_BYTES,
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
    SPOOL_PASSAGES,
    SPOOL_VECTORS,
    VECTORS,
    Layout,
    array,
    packed_bytes,
)
from flmr.index.ids import encode_ids
from flmr.index.lists import list_parts, list_sizes
from flmr.index.manifest import FileRecord, SegmentFile, write_segment_file
from flmr.index.packing import Packing
from flmr.index.passages import Row, write_parquet
from flmr.index.source import rows_per_batch
from flmr.index.store import Storage, StoredFile, let_go
from flmr.ops.arrays import Device, in_memory, is_tensor
from flmr.ops.sketch import sketch

if TYPE_CHECKING:
    from flmr.ops.waiting import Waiting

SAMPLED_AT_ONCE = 4096  # rows of a sample between two times that the pages they lie on are given back
SKETCHES_FROM = 16  # rows an item on average: a sketch takes no more than about a byte for each
REFIT_GROWTH = 4  # new vectors for each one that the codec was fitted for, at which a new codec is fitted
LISTS_FROM = 1 << 22  # vectors: looking at every code of fewer takes 2 ms, no more than reading lists would

Report = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True)
class Settings:
    """How vectors are stored: what the manifest says, and the memory, threads and device that may be used.

    lists_from: vectors from which on a segment gets inverted lists.  sketches_from: rows of an item, on average, from
    which on items get sketches.
    """

    dim: int
    nbits: int
    keep_vectors: bool
    seed: int
    memory_bytes: int
    threads: int | None = None
    device: Device = "cpu"
    lists_from: int = LISTS_FROM
    sketches_from: int = SKETCHES_FROM


@dataclass(frozen=True)
class Mark:
    """How far a segment had come: what `rollback` returns to."""

    items: int
    vectors: int
    passages_bytes: int | None
    images_not_stored: int


class SegmentWriter:
    """Append, then seal.  `codec` is the index's; `packing` keeps what was computed, where a build may be resumed."""

    def __init__(
        self,
        storage: Storage,
        folder: Path,
        settings: Settings,
        codec: Codec | None,
        packing: Packing | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.images_not_stored = 0
        self._storage = storage
        self._index_codec = codec
        self._packing = packing or Packing()
        self.codec: Codec | None = None
        self._ids: list[str] = []
        self._lengths = compact("H")
        self._passage_starts = compact("q")  # where the line of each item begins in the spool, once there is one
        self._vectors = 0
        self._widest = 0.0  # greatest root mean square of the rows that wait for a codec
        self._waiting: Waiting | None = None  # those of them that lie on a CUDA device as well
        self._files: dict[str, StoredFile] = {}
        storage.make_folder(folder)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each item: (N,) int64."""
        return np.array(self._lengths, np.int64)

    def mark(self) -> Mark:
        """The state now."""
        spool = self._files.get(SPOOL_PASSAGES)
        return Mark(len(self._ids), self._vectors, spool.size if spool else None, self.images_not_stored)

    def rollback(self, mark: Mark) -> None:
        """Forget what was appended since the mark.  Touches no file, so it cannot fail: sizes are cut when sealed."""
        del self._ids[mark.items :]
        del self._lengths[mark.items :]
        self._vectors = mark.vectors
        if self._waiting is not None:
            self._waiting.cut(mark.vectors)
        self.images_not_stored = mark.images_not_stored
        for name, width in self._widths().items():
            if name in self._files:
                self._files[name].size = HEADER_BYTES + mark.vectors * width
        del self._passage_starts[mark.items :]
        if mark.passages_bytes is None:
            del self._passage_starts[:]
            if spool := self._files.pop(SPOOL_PASSAGES, None):
                spool.close()
        else:
            self._files[SPOOL_PASSAGES].size = mark.passages_bytes

    def append(
        self, ids: Sequence[str], lengths: Sequence[int], vectors_TD: Rows, passages: Sequence[Row] | None
    ) -> None:
        """Add items.  vectors_TD: (sum of lengths, D) float16, or float32 decoded from codes that are re-encoded.

        A tensor must not change later.
        """
        rows_TD = in_memory(vectors_TD)
        if self._keeps_float16():
            stored_TD = rows_TD
            if stored_TD.dtype != np.float16:
                with np.errstate(over="ignore"):  # what is decoded may lie beyond what was encoded
                    stored_TD = np.nan_to_num(rows_TD.astype(np.float16), copy=False)
            self._file(self._float16_name()).append(stored_TD)
        if self.codec is None:
            self._widest = max(self._widest, codecs.widest_row(rows_TD))
            if is_tensor(vectors_TD) and self.settings.nbits:
                self._hold(vectors_TD)
        else:
            step = rows_per_batch(self.settings.dim, self.settings.memory_bytes)
            for first in range(0, len(vectors_TD), step):
                self._pack(self.codec, vectors_TD[first : first + step])
        self._append_items(ids, lengths, passages)

    def _hold(self, vectors_TD: Rows) -> None:
        if self._waiting is None:
            from flmr.ops.waiting import Waiting

            self._waiting = Waiting(vectors_TD.device)
        self._waiting.hold(self._vectors, vectors_TD)

    def append_encoded(
        self,
        ids: Sequence[str],
        lengths: Sequence[int],
        encoded: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
        vectors_TD: np.ndarray | None,
        passages: Sequence[Row] | None,
    ) -> None:
        """Add items that this writer's codec has encoded before; vectors_TD: float16 where they are kept."""
        if vectors_TD is not None:
            self._file(VECTORS).append(vectors_TD)
        if encoded is not None:
            for name, values in zip((CODES, RESIDUALS, SCALES), encoded, strict=True):
                self._file(name).append(values)
        self._append_items(ids, lengths, passages)

    def fit_codec(self, vectors_TD: np.ndarray, report: Report) -> None:
        """Fit the codec now, to all rows that will be appended; only before anything was, and where there is none.

        vectors_TD: float32 or float16, may be a map.  Does nothing where a row is not finite as float16: whoever checks
        the rows says which.
        """
        assert not self._ids and self._index_codec is None
        step = rows_per_batch(self.settings.dim, self.settings.memory_bytes)
        widest = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, len(vectors_TD), step):
                stored_TD = vectors_TD[first : first + step].astype(np.float16, copy=False)
                if not np.isfinite(stored_TD).all():
                    return
                widest = max(widest, codecs.widest_row(stored_TD))
                report("look", min(first + step, len(vectors_TD)), len(vectors_TD))
        self.codec = self._fit(self._sample(vectors_TD), len(vectors_TD), widest, report)

    def use_codec(self, codec: Codec | None) -> None:
        """Pack with this codec from the first row on; only before anything was appended."""
        assert not self._ids
        self._index_codec = self.codec = codec

    def seal(self, report: Report) -> Layout:
        """Finish every file but segment.json and make all durable.

        May be called again after it failed, and rows may be appended before that.
        """
        if self.settings.nbits and self.codec is None and self._vectors:
            self._pack_spooled(report)
        offsets_N1 = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.lengths, out=offsets_N1[1:])
        ids = encode_ids(self._ids)
        values = {IDS_OFFSETS: ids.offsets_N1, IDS_ORDER: ids.order_N, IDS_RANKS: ids.ranks_N, OFFSETS: offsets_N1}
        lists = self.codec is not None and self._vectors >= self.settings.lists_from
        layout = self._layout(self._write_lists(offsets_N1, report) if lists else 0, len(ids.blob))
        if layout.sketched:
            values[SKETCHES], values[SKETCH_SCALES] = self._sketches(offsets_N1, report)
        for name, kind in layout.arrays.items():
            if name in values:
                self._storage.write_array(self.folder / name, values[name], kind)
            elif name not in (LISTS, LISTS_OFFSETS):
                self._finish(name, kind.header, kind.bytes)
        self._storage.write(self.folder / IDS, ids.blob)
        if layout.passages:
            self._write_passages(report)
        return layout

    def describe(self, layout: Layout, codec_number: int | None, report: Report) -> FileRecord:
        """Write segment.json with the checksums of the sealed files; returns what the manifest says of it."""
        for entry in self.folder.iterdir():
            if entry.name not in layout.files:  # of an earlier attempt that failed
                self._storage.remove(entry)
        files = {}
        for done, name in enumerate(sorted(layout.files), 1):
            files[name] = FileRecord.of(self.folder / name)
            report("checksum", done, len(layout.files))
        record = write_segment_file(self._storage, self.folder, SegmentFile(layout, codec_number, files))
        self._storage.sync_folder(self.folder)
        return record

    def passage(self, row: int) -> Row:
        """The passage of an item that was appended."""
        if SPOOL_PASSAGES not in self._files:
            return None
        line = json.loads(next(self._files[SPOOL_PASSAGES].lines(self._passage_starts[row])))
        return None if line is None else tuple(line)

    def close(self) -> None:
        """Close the files; what was not committed is nobody's."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._waiting = None

    def _layout(self, list_bytes: int, ids_bytes: int) -> Layout:
        settings = self.settings
        return Layout(
            items=len(self),
            vectors=self._vectors,
            dim=settings.dim,
            nbits=settings.nbits,
            centroids=len(self.codec.centroids_KD) if self.codec is not None else 0,
            list_bytes=list_bytes,
            ids_bytes=ids_bytes,
            keep_vectors=settings.keep_vectors,
            passages=SPOOL_PASSAGES in self._files,
            sketched=self.codec is not None and self._vectors >= self.settings.sketches_from * len(self),
        )

    def _append_items(self, ids: Sequence[str], lengths: Sequence[int], passages: Sequence[Row] | None) -> None:
        if passages is not None or SPOOL_PASSAGES in self._files:
            lines = [json.dumps(row).encode() + b"\n" for row in passages or [None] * len(ids)]
            missing = len(self) - len(self._passage_starts)  # items that came before the first passage have none
            lines[:0] = [json.dumps(None).encode() + b"\n"] * missing
            file = self._file(SPOOL_PASSAGES)
            start = file.size
            file.append(b"".join(lines))
            for line in lines:
                self._passage_starts.append(start)
                start += len(line)
        self._ids.extend(ids)
        self._lengths.extend(lengths)
        self._vectors += sum(lengths)

    def _float16_name(self) -> str:
        return VECTORS if self.settings.nbits == 0 or self.settings.keep_vectors else SPOOL_VECTORS

    def _keeps_float16(self) -> bool:
        return self._float16_name() == VECTORS or self.codec is None

    def _widths(self) -> dict[str, int]:
        """Bytes of a row in the files that grow by rows."""
        dim, nbits = self.settings.dim, self.settings.nbits
        return {VECTORS: 2 * dim, SPOOL_VECTORS: 2 * dim, CODES: 2, RESIDUALS: packed_bytes(dim, nbits), SCALES: 1}

    def _file(self, name: str) -> StoredFile:
        if name not in self._files:
            spool = name in (SPOOL_VECTORS, SPOOL_PASSAGES)
            file = (self._storage.create_nameless if spool else self._storage.create)(self.folder / name)
            if name != SPOOL_PASSAGES:
                file.append(bytes(HEADER_BYTES))
            self._files[name] = file
        return self._files[name]

    def _finish(self, name: str, header: bytes, size: int) -> None:
        file = self._file(name)
        file.cut(size)  # what a rollback left behind the last row
        file.put(header, 0)
        file.sync()

    def _pack(self, codec: Codec, vectors_TD: Rows) -> None:
        encoded = self._packing.encode(codec, vectors_TD, self.settings.threads, self.settings.device)
        for name, values in zip((CODES, RESIDUALS, SCALES), encoded, strict=True):
            self._file(name).append(values)

    def _pack_spooled(self, report: Report) -> None:
        """Choose the codec now that the whole segment is known, and pack the vectors that waited for it."""
        settings, total = self.settings, self._vectors
        vectors_TD = self._file(self._float16_name()).view("<f2", (total, settings.dim))
        codec = self._index_codec
        if codec is None or total >= REFIT_GROWTH * codec.fitted_on or not codec.holds(self._widest):
            codec = self._fit(self._sample(vectors_TD, spooled=True), total, self._widest, report)
        else:
            codec = grown(
                codec,
                self._sample(vectors_TD, spooled=True),
                total,
                seed=settings.seed,
                threads=settings.threads,
                device=settings.device,
                report=_fitting(report),
            )
        for name in (CODES, RESIDUALS, SCALES):  # what an attempt that failed has left
            if name in self._files:
                self._files[name].size = HEADER_BYTES
        step = rows_per_batch(settings.dim, settings.memory_bytes)
        for first in range(0, total, step):
            rows_TD: Rows = vectors_TD[first : first + step]
            if self._waiting is not None:
                rows_TD = self._waiting.rows(np.arange(first, first + len(rows_TD)), vectors_TD.__getitem__)
            self._pack(codec, rows_TD)
            let_go(vectors_TD)
            report("pack", min(first + step, total), total)
        self.codec, self._waiting = codec, None
        if spool := self._files.pop(SPOOL_VECTORS, None):
            spool.close()

    def _sample(self, vectors_TD: np.ndarray, *, spooled: bool = False) -> Rows:
        """Rows to fit a codec to, float32.  spooled: the vectors are a map of our own, whose pages are given back."""
        settings, total = self.settings, len(vectors_TD)
        rows_S = sample_rows(total, codecs.sample_size(total, settings.dim, settings.memory_bytes), settings.seed)

        def read(rows_R: np.ndarray) -> np.ndarray:
            found_RD = np.empty((len(rows_R), settings.dim), np.float32)
            for first in range(0, len(rows_R), SAMPLED_AT_ONCE):
                part = slice(first, first + SAMPLED_AT_ONCE)
                found_RD[part] = vectors_TD[rows_R[part]].astype(np.float16)
                if spooled:
                    let_go(vectors_TD)
            return found_RD

        return read(rows_S) if self._waiting is None else self._waiting.rows(rows_S, read).float()

    def _fit(self, sample_SD: Rows, total: int, widest: float, report: Report) -> Codec:
        return self._packing.fit(
            sample_SD,
            nbits=self.settings.nbits,
            num_vectors=total,
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            largest=widest,
            report=_fitting(report),
        )

    def _sketches(self, offsets_N1: np.ndarray, report: Report) -> tuple[np.ndarray, np.ndarray]:
        """Sketches of the items' mean vectors, as these are stored, and the numbers of their scales."""
        assert self.codec is not None
        codec, total = self.codec, self._vectors
        codes_T = self._file(CODES).view("<u2", (total,))
        packed_TP = self._file(RESIDUALS).view("|u1", (total, packed_bytes(codec.dim, codec.nbits)))
        scales_T = self._file(SCALES).view("|u1", (total,))
        parts, first = [], 0
        step = max(1, rows_per_batch(codec.dim, self.settings.memory_bytes))
        while first < len(self):
            last = max(first + 1, int(np.searchsorted(offsets_N1, offsets_N1[first] + step, side="right")) - 1)
            rows = slice(int(offsets_N1[first]), int(offsets_N1[last]))
            vectors_TD = codec.decode_rotated(
                codes_T[rows], packed_TP[rows], scales_T[rows], threads=self.settings.threads
            )
            let_go(packed_TP)
            lengths_N = np.diff(offsets_N1[first : last + 1])
            parts.append(sketch(vectors_TD, lengths_N, codec.scale_table, threads=self.settings.threads))
            first = last
            report("sketch", rows.stop, total)
        return np.concatenate([packed for packed, _ in parts]), np.concatenate([scales for _, scales in parts])

    def _write_lists(self, offsets_N1: np.ndarray, report: Report) -> int:
        """Write the inverted lists; returns their bytes."""
        assert self.codec is not None
        memory_bytes = self.settings.memory_bytes // 4
        codes_T = self._file(CODES).view("<u2", (self._vectors,))
        sizes_K = list_sizes(codes_T, offsets_N1, len(self.codec.centroids_KD), memory_bytes)
        list_offsets_K1 = np.concatenate(([0], np.cumsum(sizes_K)))
        total = int(list_offsets_K1[-1])
        self._storage.write_array(self.folder / LISTS_OFFSETS, list_offsets_K1, array("<i8", len(list_offsets_K1)))
        file = self._storage.create(self.folder / LISTS)
        try:
            file.append(array("|u1", total).header)
            done = 0
            for part in list_parts(codes_T, offsets_N1, sizes_K, memory_bytes):
                file.append(part)
                done += len(part)
                report("lists", done, total)
            file.sync()
        finally:
            file.close()
        return total

    def _write_passages(self, report: Report) -> None:
        file = self._storage.create(self.folder / PASSAGES)
        try:
            write_parquet(file, self._spooled_passages(report))
            file.sync()
        finally:
            file.close()

    def _spooled_passages(self, report: Report) -> Iterator[tuple[str, Row]]:
        for done, line in enumerate(self._files[SPOOL_PASSAGES].lines()):
            row = json.loads(line)
            yield self._ids[done], None if row is None else tuple(row)
            if done % 1024 == 1023:
                report("passages", done + 1, len(self))


def _fitting(report: Report) -> Callable[[int, int], None]:
    return lambda done, of: report("fit codec", done, of)


def sample_rows(total: int, size: int, seed: int) -> np.ndarray:
    """One random row of each of `size` equal stretches, as a corpus may be in any order: (S,) int64, rising."""
    edges = np.arange(size + 1, dtype=np.int64) * total // size
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])
