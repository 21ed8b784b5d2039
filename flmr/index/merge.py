"""Compaction: many segments become one, and deleted items give their space back.

Knows how to copy what is alive from segments into a new one.  Knows nothing of commits beyond asking for one.
Codes are copied as they are; only items of a segment with another codec are encoded anew.  Where float16 vectors are
kept and lie too far from their centroids, a codec is fitted to them and all is encoded anew, as by a fresh build.

Shapes: N items that are alive, S sampled vectors, D dimension.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from flmr.index.codec import Codec, sample_size
from flmr.index.drift import drifted
from flmr.index.format import VECTORS
from flmr.index.segment_writer import REFIT_GROWTH, Report, SegmentWriter, Settings, sample_rows
from flmr.index.snapshot import Run, View
from flmr.index.source import rows_per_batch
from flmr.index.writer import Writer


def merge(writer: Writer, report: Report) -> bool:
    """Commit what waits, then merge all segments into one and commit that; returns whether there was any to merge."""
    writer.commit(report)
    base = writer.base
    if len(base.views) < 2 and not any(view.record.alive_file for view in base.views):
        return False
    target = writer.new_segment(base.manifest.dim)
    try:
        target.use_codec(_codec_for_all(writer, target.settings))
        done = 0
        for view in base.views:
            for run in view.runs(rows_per_batch(base.manifest.dim, target.settings.memory_bytes)):
                _copy(target, run)
                done += run.end - run.first
                report("merge", done, base.manifest.items)
        manifest = replace(base.manifest, generation=base.manifest.generation + 1, segments=())
        writer.publish(writer.record_segment(manifest, target, set(), report))
    finally:
        target.close()
    return True


def _codec_for_all(writer: Writer, settings: Settings) -> Codec | None:
    """The best codec of the index if it fits all that is alive, else None: one is to be fitted."""
    best, total = writer.best_codec(), writer.base.manifest.vectors
    widths = [codec.scale_table[-1] for codec in writer.base.codecs.values()]
    if best is None or best.scale_table[-1] < max(widths):
        return None
    if settings.keep_vectors and best.residual is not None and total:
        rows_S = sample_rows(total, sample_size(total, settings.dim, settings.memory_bytes), settings.seed)
        if total >= REFIT_GROWTH * best.fitted_on or drifted(_distances(writer.base.views, rows_S), best.residual):
            return None
    return best


def _distances(views: Iterable[View], rows_S: np.ndarray) -> np.ndarray:
    """Squared residuals, as they are stored, of kept vectors by their numbers among all that are alive: (S,) float32.

    rows_S: int64, rising.
    """
    found, before = [np.empty(0, np.float32)], 0
    for view in views:
        segment, alive_N = view.segment, view.alive_rows.astype(np.int64)
        ends_N = before + np.cumsum(segment.offsets[alive_N + 1] - segment.offsets[alive_N])
        low, before = before, int(ends_N[-1]) if len(ends_N) else before
        here_S = rows_S[slice(*np.searchsorted(rows_S, (low, before)))]
        if len(here_S) and segment.codec is not None:
            items = np.searchsorted(ends_N, here_S, side="right")
            places = segment.offsets[alive_N[items] + 1] - (ends_N[items] - here_S)
            residuals_SD = segment.codec.rotate(segment.array(VECTORS)[places])
            residuals_SD -= segment.codec.nearest(segment.codes(places))
            found.append(np.einsum("sd,sd->s", residuals_SD, residuals_SD))
    return np.concatenate(found)


def _copy(target: SegmentWriter, run: Run) -> None:
    segment, (low, high) = run.segment, run.rows
    lengths = run.lengths.tolist()
    kept = segment.array(VECTORS)[low:high] if segment.has_vectors else None
    if segment.codec is target.codec or low == high:
        codes = segment.encoded(low, high) if segment.codec is not None and low < high else None
        target.append_encoded(run.ids, lengths, codes, kept, run.passages)
    else:
        target.append(run.ids, lengths, kept if kept is not None else segment.decoded(low, high), run.passages)
