"""Compaction: many segments become one, and deleted items give their space back.

Knows how to copy what is alive from segments into a new one.  Knows nothing of commits beyond asking for one.
Codes are copied as they are; only items of a segment with another codec are encoded anew, from the kept vectors where
there are any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from flmr.index.codec import Codec
from flmr.index.format import VECTORS
from flmr.index.passages import Row
from flmr.index.segment_writer import Report, SegmentWriter
from flmr.index.snapshot import View
from flmr.index.source import ITEMS_PER_BATCH, rows_per_batch
from flmr.index.writer import Writer


def merge(writer: Writer, report: Report) -> bool:
    """Commit what waits, then merge all segments into one and commit that; returns whether there was any to merge."""
    writer.commit(report)
    base = writer.base
    if len(base.views) < 2 and not any(view.record.alive_file for view in base.views):
        return False
    target = writer.new_segment(base.manifest.dim)
    target.use_codec(_codec_for_all(writer))
    try:
        done = 0
        for view in base.views:
            for first, end, passages in _runs(view, rows_per_batch(base.manifest.dim, target.settings.memory_bytes)):
                _copy(target, view, first, end, passages)
                done += end - first
                report("merge", done, base.manifest.items)
        manifest = replace(base.manifest, generation=base.manifest.generation + 1, segments=())
        writer.publish(writer.record_segment(manifest, target, set(), report))
    finally:
        target.close()
    return True


def _codec_for_all(writer: Writer) -> Codec | None:
    """The best codec of the index if it can encode what any other has encoded, else None: one is to be fitted."""
    best = writer.best_codec()
    widths = [codec.scale_table[-1] for codec in writer.base.codecs.values()]
    return best if best is None or best.scale_table[-1] >= max(widths) else None


def _runs(view: View, max_rows: int) -> Iterator[tuple[int, int, list[Row] | None]]:
    """Runs of neighbouring items that are alive, (first, end), of a bounded number of rows, with their passages."""
    alive = view.alive_rows.astype(np.int64)
    offsets_N1 = view.segment.offsets
    passages = enumerate(view.segment.passages.rows()) if view.segment.passages else None
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
        yield first, end, rows


def _copy(target: SegmentWriter, view: View, first: int, end: int, passages: list[Row] | None) -> None:
    segment = view.segment
    ids = [segment.ids[row] for row in range(first, end)]
    lengths = np.diff(segment.offsets[first : end + 1]).tolist()
    low, high = int(segment.offsets[first]), int(segment.offsets[end])
    kept = segment.array(VECTORS)[low:high] if segment.has_vectors else None
    if segment.codec is target.codec or low == high:
        codes = segment.encoded(low, high) if segment.codec is not None and low < high else None
        target.append_encoded(ids, lengths, codes, kept, passages)
    else:
        target.append(ids, lengths, kept if kept is not None else segment.decoded(low, high), passages)
