"""One commit of an index, opened: its manifest, its segments, and which of their items are alive.

Knows how to open the files that a manifest names, all of one commit or none.  Knows nothing of searching or writing.

Shapes: N items of a segment.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flmr.errors import CorruptIndex, StorageError
from flmr.index.codec import Codec, open_codec
from flmr.index.format import alive_array, gains_array
from flmr.index.lazy import lazy
from flmr.index.manifest import RESTORE, Manifest, SegmentRecord, read_manifest
from flmr.index.passages import Row
from flmr.index.sample import Sample, open_sample
from flmr.index.segment import Segment, map_alive, map_gains
from flmr.index.source import ITEMS_PER_BATCH
from flmr.index.store import FileMissing, file_size


@dataclass(frozen=True)
class View:
    """A segment as one commit sees it.  alive_N: bool, or None while nothing of it was deleted.

    gains_2N: what the index's sample queries gain on its items, float32 (see `flmr.index.calibrate`), or None.
    """

    record: SegmentRecord
    segment: Segment
    alive_N: np.ndarray | None
    gains_2N: np.ndarray | None = None

    @lazy
    def alive_rows(self) -> np.ndarray:
        """Rows that are not deleted: uint32, ascending."""
        if self.alive_N is None:
            return np.arange(len(self.segment), dtype=np.uint32)
        return np.flatnonzero(self.alive_N).astype(np.uint32)

    def row(self, item_id: str) -> int | None:
        """The row of an id that is not deleted, or None."""
        rows = self.segment.ids.rows(item_id)
        return next((row for row in rows if self.alive_N is None or self.alive_N[row]), None)

    def runs(self, max_rows: int) -> Iterator[Run]:
        """All items that are alive, in order, in runs of neighbours of at most `max_rows` rows, or of one item."""
        alive = self.alive_rows.astype(np.int64)
        offsets_N1 = self.segment.offsets
        passages = enumerate(self.segment.passages.rows()) if self.segment.passages else None
        place = 0
        while place < len(alive):
            first = end = int(alive[place])
            while (
                place < len(alive)
                and int(alive[place]) == end
                and end - first < ITEMS_PER_BATCH
                and (end == first or offsets_N1[end + 1] - offsets_N1[first] <= max_rows)
            ):
                end, place = end + 1, place + 1
            rows = None
            if passages is not None:
                rows = []
                for row, passage in passages:
                    if row >= first:
                        rows.append(passage)
                    if row == end - 1:
                        break
            yield Run(self.segment, first, end, rows)


@dataclass(frozen=True)
class Run:
    """Items first .. end of a segment, with their passages where it has any."""

    segment: Segment
    first: int
    end: int
    passages: list[Row] | None

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [self.segment.ids[row] for row in range(self.first, self.end)]

    @property
    def lengths(self) -> np.ndarray:
        """How many rows each has: int64."""
        return np.diff(self.segment.offsets[self.first : self.end + 1])

    @property
    def rows(self) -> tuple[int, int]:
        """Where their rows begin and end in the segment."""
        return int(self.segment.offsets[self.first]), int(self.segment.offsets[self.end])


@dataclass(frozen=True)
class Snapshot:
    """Immutable; maps stay valid for as long as it lives, whatever happens to the files."""

    folder: Path
    manifest: Manifest
    views: tuple[View, ...]
    codecs: Mapping[int, Codec]
    sample: Sample | None = None

    def find_all(self, item_ids: Iterable[str]) -> dict[str, tuple[View, int]]:
        """The segment and row of each of these ids that is there and not deleted."""
        found: dict[str, tuple[View, int]] = {}
        left = list(item_ids)
        for view in reversed(self.views):
            if not left:
                break
            rows = view.segment.ids.find(left, view.alive_N)
            found.update({item_id: (view, row) for item_id, row in rows.items()})
            left = [item_id for item_id in left if item_id not in rows]
        return found

    def find(self, item_id: str) -> tuple[View, int] | None:
        """The segment and row of an id that is not deleted, or None."""
        for view in reversed(self.views):
            row = view.row(item_id)
            if row is not None:
                return view, row
        return None


def open_snapshot(folder: Path, previous: Snapshot | None = None) -> Snapshot:
    """The last commit.  Segments that `previous` has open are shared with it.

    Raises NotAnIndex or CorruptIndex.
    """
    manifest = read_manifest(folder)
    while True:
        try:
            return _open(folder, manifest, previous)
        except (FileMissing, StorageError) as error:
            # A merge may have removed the files between our reading of the manifest and of them.
            if isinstance(error, StorageError) and error.errno != errno.ENOENT:
                raise
            newer = read_manifest(folder)
            if newer.generation == manifest.generation:
                raise
            manifest = newer


def _open(folder: Path, manifest: Manifest, previous: Snapshot | None) -> Snapshot:
    known = {view.record.segment_file.sha256: view for view in previous.views} if previous else {}
    old = previous.manifest.codecs if previous else {}
    codecs = {}
    for key, record in manifest.codecs.items():
        number = int(key)
        if previous and old.get(key) == record:
            codecs[number] = previous.codecs[number]
        else:
            codecs[number] = open_codec(folder, number, record, nbits=manifest.nbits, dim=manifest.dim)
    views = []
    for entry in manifest.segments:
        shared = known.get(entry.segment_file.sha256)
        if shared and shared.record == entry:
            views.append(shared)
            continue
        codec = codecs[entry.codec] if entry.codec is not None else None
        same = shared and shared.record.name == entry.name and shared.segment.codec is codec
        segment = shared.segment if shared and same else Segment(folder, entry, codec)
        if (segment.layout.dim, segment.layout.nbits) != (manifest.dim, manifest.nbits):
            raise CorruptIndex(f"{segment.path} has another D or nbits than its index: {RESTORE}")
        views.append(View(entry, segment, _alive(folder, entry), _gains(folder, entry)))
    return Snapshot(folder, manifest, tuple(views), codecs, _sample(folder, manifest, previous))


def _sample(folder: Path, manifest: Manifest, previous: Snapshot | None) -> Sample | None:
    if manifest.sample is None:
        return None
    if previous and previous.manifest.sample == manifest.sample:
        return previous.sample
    return open_sample(folder, manifest.sample, dim=manifest.dim)


def _gains(folder: Path, entry: SegmentRecord) -> np.ndarray | None:
    if entry.gains_file is None:
        return None
    path = folder / entry.gains_file.name
    if file_size(path) != entry.gains_file.file.bytes:
        raise CorruptIndex(f"{path} has not the size that the manifest says: {RESTORE}")
    return map_gains(path, gains_array(entry.items), entry.gains_file.unit)


def _alive(folder: Path, entry: SegmentRecord) -> np.ndarray | None:
    if entry.alive_file is None:
        if entry.alive != entry.items:
            raise CorruptIndex(f"{folder}: the manifest lacks the alive bitmap of segment {entry.name}: {RESTORE}")
        return None
    path = folder / entry.alive_file.name
    if file_size(path) != entry.alive_file.file.bytes:
        raise CorruptIndex(f"{path} has not the size that the manifest says: {RESTORE}")
    alive_N = map_alive(path, alive_array(entry.items), entry.items)
    if int(alive_N.sum()) != entry.alive:
        raise CorruptIndex(f"{path} does not have the {entry.alive:,} items alive that the manifest says: {RESTORE}")
    return alive_N
