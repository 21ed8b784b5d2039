"""The writer of an index: adds, deletes and updates wait here until one commit makes them visible.

Knows the lock, the segment being written and which items are to die.  Knows nothing of searching.
Every operation either takes place whole or leaves the writer as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import DuplicateId, FlmrError, InvalidInput, NotAnIndex, StorageError, UnknownId
from flmr.index.calibrate import measure_gains, measure_plan
from flmr.index.codec import Codec, write_codec
from flmr.index.drift import extends
from flmr.index.format import (
    LOCK,
    MANIFEST,
    alive_array,
    alive_name,
    codec_name,
    gains_array,
    gains_name,
    is_own_entry,
    sample_name,
    segment_name,
)
from flmr.index.ids import checked_id
from flmr.index.lock import WriterLock
from flmr.index.manifest import (
    AliveRecord,
    FileRecord,
    GainsRecord,
    Manifest,
    SegmentRecord,
    read_manifest,
    write_manifest,
)
from flmr.index.packing import Packing
from flmr.index.passages import Row
from flmr.index.sample import Sample, write_sample
from flmr.index.segment import Segment
from flmr.index.segment_writer import Mark, Report, SegmentWriter, Settings
from flmr.index.settings import SCAN_VECTORS
from flmr.index.snapshot import Snapshot, View, open_snapshot
from flmr.index.source import ITEMS_PER_BATCH, Batch, batches
from flmr.index.store import Storage
from flmr.ops.arrays import Device
from flmr.records import MultiVectors, Passage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Undo:
    """What an operation did so far, so that it can be taken back."""

    segment: Mark | None
    next_id: int
    added: dict[str, None] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)  # uncommitted items that died: id -> row
    died: list[tuple[str, int]] = field(default_factory=list)  # committed items that will die: (segment, row)


class Writer:
    """One writer's uncommitted work on top of a snapshot."""

    def __init__(
        self,
        storage: Storage,
        folder: Path,
        lock: WriterLock,
        base: Snapshot,
        memory_bytes: int,
        packing: Packing | None = None,
        device: Device = "cpu",
    ) -> None:
        self.base = base
        self.lock = lock
        self._storage = storage
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._packing = packing
        self._device = device
        self._manifest = base.manifest
        self._segment: SegmentWriter | None = None
        self._pending: dict[str, int] = {}  # alive items of the segment being written: id -> row
        self._dead: dict[str, set[int]] = {}  # committed items that die with the next commit
        self._next_id = base.manifest.next_id
        self._sample = base.sample
        sweep(storage, folder)

    @property
    def dim(self) -> int:
        """D, 0 where nothing has decided it yet."""
        return self._manifest.dim

    @property
    def changed(self) -> bool:
        """Whether a commit would change anything."""
        return bool(self._segment or any(self._dead.values()))

    def add(
        self,
        vectors: MultiVectors | Iterable[Any],
        ids: Iterable[str] | None,
        passages: Iterable[Passage | None] | None,
        *,
        update: bool,
        report: Report,
        whole: bool = False,
    ) -> int:
        """Append items; with `update` each replaces the one of its id.  Returns their number.

        whole: nothing else will be added before the commit, so that a codec may be fitted before the first is packed.

        Raises DuplicateId, UnknownId or InvalidInput; then nothing was added.
        """
        if update and ids is None and passages is None:
            raise InvalidInput("update needs the ids of the items to replace: give ids or passages")
        undo = self._begin()
        total = len(vectors) if isinstance(vectors, Sized) else None
        try:
            known = whole and self._manifest.pool == 1  # pooled rows are known once they have been read
            if known and isinstance(vectors, MultiVectors) and self._manifest.nbits and len(vectors.vectors):
                self._manifest = replace(self._manifest, dim=vectors.dim)
                self._segment = self.new_segment(vectors.dim)
                self._segment.fit_codec(vectors.vectors, report)
            for batch in self._batches(vectors, ids, passages):
                self._admit(batch, undo, update=update)
                if update and batch.passages is None:
                    batch = replace(batch, passages=self._passages_of(batch.ids, undo))
                self._append(batch)
                if not update:
                    self._next_id += len(batch.ids)
                report("add", len(undo.added), total)
        except BaseException:
            self._take_back(undo)
            raise
        return len(undo.added)

    def delete(self, ids: Iterable[str]) -> int:
        """Let items die with the next commit.  Raises UnknownId or DuplicateId; then nothing is deleted."""
        undo = self._begin()
        seen: set[str] = set()
        try:
            rest = iter(ids)
            while batch := [checked_id(item_id) for item_id in islice(rest, ITEMS_PER_BATCH)]:
                committed = self._committed(batch)
                for item_id in batch:
                    if item_id in seen:
                        raise DuplicateId(f"id {item_id!r} is given twice; give each id once")
                    seen.add(item_id)
                    if not self._kill(item_id, committed.get(item_id), undo):
                        raise UnknownId(f"id {item_id!r} is not in {self._folder}; nothing was deleted: check the id")
        except BaseException:
            self._take_back(undo)
            raise
        return len(seen)

    def commit(self, report: Report, *, force: bool = False) -> bool:
        """Make all that waits visible, atomically and durably; returns whether there was anything.

        On failure the index is as it was and the work still waits: a commit may be tried again.
        """
        if not self.changed and not force:
            return False
        manifest = replace(self._manifest, generation=self._manifest.generation + 1, next_id=self._next_id)
        manifest = replace(manifest, segments=self._survivors(manifest.generation))
        if self._segment is not None and self._pending:
            dead = set(range(len(self._segment))).difference(self._pending.values())
            manifest = self.record_segment(manifest, self._segment, dead, report)
        self.publish(manifest)
        return True

    def use_sample(self, sample: Sample) -> None:
        """Take these queries for what questions are like, from the next commit on."""
        self._sample = sample
        record = write_sample(self._storage, self._folder, self._manifest.generation + 1, self._sample)
        self._manifest = replace(self._manifest, sample=record)

    def calibrate(self, report: Report) -> None:
        """Measure gains and the plan of the last commit anew, and commit them."""
        manifest = replace(self._manifest, generation=self._manifest.generation + 1, next_id=self._next_id)
        views = []
        for done, view in enumerate(self.base.views, 1):
            views.append(self._with_gains(view, manifest.generation))
            report("calibrate", done, len(self.base.views))
        manifest = replace(manifest, segments=tuple(view.record for view in views))
        self.publish(self._planned(manifest, views))

    def publish(self, manifest: Manifest) -> None:
        """Replace the manifest; if that is refused after it took effect, say so and go on from what is there."""
        used = {str(segment.codec) for segment in manifest.segments}
        manifest = replace(manifest, codecs={key: codec for key, codec in manifest.codecs.items() if key in used})
        self._storage.sync_folder(self._folder)
        self.lock.check()
        try:
            write_manifest(self._storage, self._folder, manifest)
        except StorageError as error:
            if not self._took_effect(manifest):
                raise
            self._adopt(manifest)
            raise StorageError(f"committed, but a loss of power may undo it: {error}") from error
        self._adopt(manifest)
        sweep(self._storage, self._folder)

    def new_segment(self, dim: int) -> SegmentWriter:
        """A segment to write, with the index's settings and its best codec."""
        manifest = self._manifest
        stored = (manifest.nbits, manifest.keep_vectors, manifest.seed)
        settings = Settings(dim, *stored, self._memory_bytes, device=self._device)
        folder = self._folder / segment_name(manifest.next_segment)
        return SegmentWriter(self._storage, folder, settings, self.best_codec(), self._packing)

    def best_codec(self) -> Codec | None:
        """The codec that was fitted for the most vectors."""
        codecs = [codec for _, codec in sorted(self.base.codecs.items())]
        return max(codecs, key=lambda codec: codec.fitted_on, default=None)

    def record_segment(self, manifest: Manifest, segment: SegmentWriter, dead: set[int], report: Report) -> Manifest:
        """Seal a segment and add it, and its codec if that is new, to a manifest that is not yet committed."""
        self.lock.check()
        layout = segment.seal(report)
        dead_rows = np.array(sorted(dead), np.int64)
        manifest, codec_number = self._record_codec(manifest, segment.codec if layout.centroids else None)
        record = SegmentRecord(
            name=segment.folder.name,
            items=layout.items,
            vectors=layout.vectors,
            alive=layout.items - len(dead_rows),
            alive_vectors=layout.vectors - int(segment.lengths[dead_rows].sum()),
            codec=codec_number,
            segment_file=segment.describe(layout, codec_number, report),
        )
        if dead:
            record = self._with_dead(record, np.ones(layout.items, bool), dead_rows, manifest.generation)
        plan = not manifest.segments and layout.vectors > SCAN_VECTORS  # smaller ones are scanned
        if layout.centroids and (plan or self._sample is not None):
            report("calibrate", 0, None)
            view = View(record, Segment(self._folder, record, segment.codec), None)
            view = self._with_gains(view, manifest.generation)
            record = view.record
            if plan:  # of all that there is; with what is added later it is measured anew by the next merge
                manifest = self._planned(manifest, [view])
        return replace(
            manifest,
            dim=layout.dim,
            segments=(*manifest.segments, record),
            next_segment=int(record.name) + 1,
            images_not_stored=manifest.images_not_stored + segment.images_not_stored,
        )

    def abandon(self) -> None:
        """Forget all that was not committed, as far as the disk allows; the next writer sweeps the rest."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self.lock.intact:
            sweep(self._storage, self._folder)

    def _batches(self, vectors: Any, ids: Any, passages: Any) -> Iterator[Batch]:
        dim = self._manifest.dim or None
        if isinstance(vectors, MultiVectors) and dim is None:
            dim = vectors.dim
            self._manifest = replace(self._manifest, dim=dim)
        return batches(
            vectors,
            ids,
            passages,
            dim=dim,
            next_id=self._next_id,
            memory_bytes=self._memory_bytes,
            pool=self._manifest.pool,
            device=self._device,
        )

    def _admit(self, batch: Batch, undo: _Undo, *, update: bool) -> None:
        """Check a batch's ids against each other and against all that is there; let replaced items die."""
        committed = self._committed(batch.ids)
        for item_id in batch.ids:
            if item_id in undo.added:
                raise DuplicateId(f"id {item_id!r} is given twice; ids must be unique")
            if update:
                if not self._kill(item_id, committed.get(item_id), undo):
                    raise UnknownId(
                        f"id {item_id!r} is not in {self._folder}; nothing was updated: use add for new items"
                    )
            elif item_id in self._pending or item_id in committed:
                raise DuplicateId(f"id {item_id!r} is already in {self._folder}: use update to replace it")
            undo.added[item_id] = None

    def _append(self, batch: Batch) -> None:
        if self._segment is None:
            self._segment = self.new_segment(batch.vectors.shape[1])
            self._manifest = replace(self._manifest, dim=batch.vectors.shape[1])
        row = len(self._segment)
        self._segment.append(batch.ids, batch.lengths, batch.vectors, batch.passages)
        self._segment.images_not_stored += batch.images_not_stored
        self._pending.update(zip(batch.ids, range(row, row + len(batch.ids)), strict=True))

    def _committed(self, item_ids: Sequence[str]) -> dict[str, tuple[View, int]]:
        """Where those of these ids are that are committed and will not die with the next commit."""
        found = self.base.find_all(item_ids)
        if not self._dead:
            return found
        return {
            item_id: (view, row)
            for item_id, (view, row) in found.items()
            if row not in self._dead.get(view.record.name, ())
        }

    def _kill(self, item_id: str, committed: tuple[View, int] | None, undo: _Undo) -> bool:
        row = self._pending.pop(item_id, None)
        if row is not None:
            undo.replaced[item_id] = row
            return True
        if committed is None:
            return False
        name, row = committed[0].record.name, committed[1]
        self._dead.setdefault(name, set()).add(row)
        undo.died.append((name, row))
        return True

    def _passages_of(self, ids: Sequence[str], undo: _Undo) -> list[Row]:
        """The stored passages of items that an update has just replaced without giving new ones."""
        rows: list[Row] = []
        for item_id in ids:
            if item_id in undo.replaced:
                rows.append(self._segment.passage(undo.replaced[item_id]) if self._segment else None)
                continue
            found = self.base.find(item_id)
            passages = found[0].segment.passages if found else None
            rows.append(passages.row(found[1]) if found and passages else None)
        return rows

    def _begin(self) -> _Undo:
        return _Undo(self._segment.mark() if self._segment is not None else None, self._next_id)

    def _take_back(self, undo: _Undo) -> None:
        for item_id in undo.added:
            self._pending.pop(item_id, None)
        self._pending.update(undo.replaced)
        for name, row in undo.died:
            self._dead[name].discard(row)
        self._next_id = undo.next_id
        if self._segment is not None and undo.segment is not None:
            self._segment.rollback(undo.segment)
        elif self._segment is not None:
            self._segment.close()
            self._segment = None

    def _survivors(self, generation: int) -> tuple[SegmentRecord, ...]:
        """The segments of the last commit without what dies now; one that has nothing left is dropped."""
        records = []
        for view in self.base.views:
            dead = np.array(sorted(self._dead.get(view.record.name, ())), np.int64)
            if not len(dead):
                records.append(view.record)
            elif len(dead) < view.record.alive:
                lost = view.segment.offsets[dead + 1] - view.segment.offsets[dead]
                record = replace(
                    view.record,
                    alive=view.record.alive - len(dead),
                    alive_vectors=view.record.alive_vectors - int(lost.sum()),
                )
                alive_N = np.ones(len(view.segment), bool) if view.alive_N is None else view.alive_N.copy()
                records.append(self._with_dead(record, alive_N, dead, generation))
        return tuple(records)

    def _with_dead(
        self, record: SegmentRecord, alive_N: np.ndarray, dead: np.ndarray, generation: int
    ) -> SegmentRecord:
        alive_N[dead] = False
        path = self._folder / alive_name(record.name, generation)
        self._storage.write_array(path, np.packbits(alive_N, bitorder="little"), alive_array(len(alive_N)))
        return replace(record, alive_file=AliveRecord(path.name, FileRecord.of(path)))

    def _with_gains(self, view: View, generation: int) -> View:
        """The view with what the sample gains on its items, written to a file; without any where there is no sample."""
        if self._sample is None or view.segment.codec is None:
            return replace(view, record=replace(view.record, gains_file=None), gains_2N=None)
        gains_2N = measure_gains(view, self._sample)
        unit = float(np.abs(gains_2N).max(initial=0)) or 1.0
        path = self._folder / gains_name(view.record.name, generation)
        stored_2N = (gains_2N / np.float32(unit)).astype(np.float16)
        self._storage.write_array(path, stored_2N, gains_array(len(view.segment)))
        gains = GainsRecord(path.name, FileRecord.of(path), unit)
        return replace(view, record=replace(view.record, gains_file=gains), gains_2N=gains_2N)

    def _planned(self, manifest: Manifest, views: Sequence[View]) -> Manifest:
        """The manifest with a plan for its size, unless it is so small that all is scanned."""
        if sum(view.record.vectors for view in views) <= SCAN_VECTORS:
            return replace(manifest, plan=None)
        return replace(manifest, plan=measure_plan(views, self._sample, seed=manifest.seed))

    def _record_codec(self, manifest: Manifest, codec: Codec | None) -> tuple[Manifest, int | None]:
        if codec is None:
            return manifest, None
        for number, known in self.base.codecs.items():
            if known is codec:
                return manifest, number
        number = manifest.next_codec
        record = write_codec(self._storage, self._folder, number, codec)
        older = {key for key, known in self.base.codecs.items() if extends(codec, known)}
        segments = tuple(replace(s, codec=number) if s.codec in older else s for s in manifest.segments)
        codecs = {**manifest.codecs, str(number): record}
        return replace(manifest, codecs=codecs, segments=segments, next_codec=number + 1), number

    def _took_effect(self, manifest: Manifest) -> bool:
        try:
            return read_manifest(self._folder) == manifest
        except FlmrError:
            return False

    def _adopt(self, manifest: Manifest) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment, self._pending, self._dead, self._packing = None, {}, {}, None
        self._manifest, self._next_id = manifest, manifest.next_id
        self.base = open_snapshot(self._folder, self.base)


def sweep(storage: Storage, folder: Path) -> None:
    """Remove what no commit names: leftovers of writers that died, and what a commit has replaced.

    What cannot be removed now is left to the next writer.  Readers that have the files open keep them.
    """
    try:
        manifest = read_manifest(folder)
    except NotAnIndex:
        manifest = None
    except FlmrError:
        return  # a damaged index may still be repaired by hand: nothing of it is removed
    keep = {LOCK} if manifest is None else entries_of(manifest)
    try:
        doomed = [entry for entry in sorted(folder.iterdir()) if is_own_entry(entry.name) and entry.name not in keep]
        if doomed:
            storage.sync_folder(folder)  # the manifest that names them no more may not be durable yet
        for entry in doomed:
            storage.remove(entry)
    except OSError:
        log.debug("left unused files in %s", folder, exc_info=True)


def entries_of(manifest: Manifest) -> set[str]:
    """The entries of an index's folder that a commit needs."""
    keep = {MANIFEST, LOCK}
    for record in manifest.segments:
        keep |= {record.name}
        keep |= {file.name for file in (record.alive_file, record.gains_file) if file is not None}
    for number, codec in manifest.codecs.items():
        keep |= {codec_name(int(number), part) for part in codec.files}
    if manifest.sample is not None:
        keep |= {sample_name(manifest.sample.generation, part) for part in manifest.sample.files}
    return keep
