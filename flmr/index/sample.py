"""Sample queries: what the questions to an index are like, kept with it.

Knows a few merged queries, what they have in common and how like them another query is.  Knows nothing of what follows
from that for a search (see `flmr.index.calibrate`).

The rows of questions have much in common that their subjects have not: [MASK] rows, instructions, the words that all
questions share.  What an item gains by that is the same for all of them, and cannot be known from passages alone.

Shapes: T rows of all sample queries, Q rows of a query, D dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.format import SAMPLE_ROWS, SAMPLE_SCALES, Array, array, sample_name
from flmr.index.lazy import lazy
from flmr.index.manifest import RESTORE, FileRecord, SampleRecord
from flmr.index.store import Storage, file_size, map_array
from flmr.ops.assign import round_rows
from flmr.ops.coded import merge_rows

Item = TypeVar("Item")
SAMPLE_QUERIES = 16  # with 8 a twentieth more candidates are needed, with 64 no fewer
OWN_ROWS = 32
LEAST_LOST = 0.01  # about what rounding to bytes may hide
NOISE = 0.3  # of a row's length: a stored row itself would be found by its own list at once, as no question's is


@dataclass(frozen=True)
class Sample:
    """Sample queries, merged and scaled so that the lengths of a query's rows add up to one.

    rows_TD: int8, query after query, in units of scales_T, float32.  lengths: rows of each query.
    """

    rows_TD: np.ndarray
    scales_T: np.ndarray
    lengths: tuple[int, ...]

    @lazy
    def queries(self) -> list[np.ndarray]:
        """The queries, (Q, D) float32 each."""
        rows_TD = self.rows_TD * self.scales_T[:, None]
        return np.split(rows_TD, np.cumsum(self.lengths)[:-1])

    @lazy
    def sums(self) -> np.ndarray:
        """The sum of each query's rows: (queries, D) float64."""
        return np.array([query.sum(axis=0, dtype=np.float64) for query in self.queries])

    @lazy
    def usual(self) -> np.ndarray:
        """What the sums have in common: (D,) float64."""
        usual_D: np.ndarray = self.sums.mean(axis=0)
        return usual_D

    @lazy
    def losses(self) -> list[float]:
        """What share of the lengths of each query's rows was lost where these were merged."""
        return [1 - float(np.linalg.norm(query.astype(np.float64), axis=1).sum()) for query in self.queries]

    @lazy
    def lost(self) -> float:
        """The same on average, at least what rounding may hide."""
        return max(float(np.mean(self.losses)), LEAST_LOST)

    @property
    def least_likeness(self) -> float:
        """The cosine below which a query is unlike them: twice as far from their mean as the farthest of them is."""
        total_D = self.sums.sum(axis=0)
        others = [_cosine(sum_D, total_D - sum_D) for sum_D in self.sums] if len(self.sums) > 1 else [0.9]
        return max(0.0, 1 - 2 * (1 - min(others)))

    def likeness(self, query_QD: np.ndarray, least: float) -> float:
        """How much of the usual sample query is in a query; 0 where their cosine is below `least`."""
        sum_D, usual_D = query_QD.sum(axis=0, dtype=np.float64), self.usual
        if _cosine(sum_D, usual_D) < least:
            return 0.0
        return max(0.0, float((sum_D * usual_D).sum() / np.square(usual_D).sum()))


def spread(queries: Sequence[Item]) -> list[Item]:
    """At most 16 of them, evenly spread over their order: those of which a sample is made."""
    count = min(SAMPLE_QUERIES, len(queries))
    return [queries[i * len(queries) // count] for i in range(count)]


def make_sample(queries: Sequence[np.ndarray]) -> Sample:
    """A sample of at most 16 of these queries, (Q, D) float32 each, evenly spread over their order.

    Raises InvalidInput where none of them has a length.
    """
    scaled = []
    for query_QD in spread(queries):
        length = float(np.linalg.norm(query_QD.astype(np.float64), axis=1).sum())
        if length > 0:
            scaled.append(merge_rows((query_QD.astype(np.float64) / length).astype(np.float32)))
    if not queries:
        raise InvalidInput("there is no sample query: give 16 or more, or none at all")
    if not scaled or not np.any(sum(rows.sum(axis=0) for rows in scaled)):
        raise InvalidInput("sample queries must not be zeros or cancel each other out: give real ones, or none")
    rows_TD, scales_T = round_rows(np.concatenate(scaled))
    return Sample(rows_TD, scales_T, tuple(len(rows) for rows in scaled))


def own_query(rows_TD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A query made of an item's own rows, up to 32 of them with noise: (Q, D) float32."""
    rows = rows_TD[np.sort(rng.permutation(len(rows_TD))[:OWN_ROWS])]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.float32(math.sqrt(rows.shape[1]))
    query_QD: np.ndarray = rows + np.float32(NOISE) * lengths * rng.standard_normal(rows.shape, dtype=np.float32)
    return query_QD


def write_sample(storage: Storage, folder: Path, generation: int, sample: Sample) -> SampleRecord:
    """Write the sample's files; they belong to the index once a manifest names them."""
    values, files = {SAMPLE_ROWS: sample.rows_TD, SAMPLE_SCALES: sample.scales_T}, {}
    for part, kind in _arrays(*sample.rows_TD.shape).items():
        path = folder / sample_name(generation, part)
        storage.write_array(path, values[part], kind)
        files[part] = FileRecord.of(path)
    return SampleRecord(generation, sample.lengths, files)


def open_sample(folder: Path, record: SampleRecord, *, dim: int) -> Sample:
    """Read a sample, which is small; raises CorruptIndex where a file is not what the manifest says."""
    parts = {}
    for part, kind in _arrays(sum(record.lengths), dim).items():
        path = folder / sample_name(record.generation, part)
        if part not in record.files or file_size(path) != record.files[part].bytes:
            raise CorruptIndex(f"{path} has not the size that the manifest says: {RESTORE}")
        parts[part] = map_array(path, kind).copy()
    scales_T = parts[SAMPLE_SCALES]
    sample = Sample(parts[SAMPLE_ROWS], scales_T, record.lengths)
    if min(record.lengths, default=0) < 1 or not (np.isfinite(scales_T) & (scales_T >= 0) & (scales_T <= 1)).all():
        raise CorruptIndex(
            f"{folder / sample_name(record.generation, SAMPLE_SCALES)} holds what is no scale: {RESTORE}"
        )
    if not np.any(sample.sums.sum(axis=0)):
        raise CorruptIndex(f"{folder / sample_name(record.generation, SAMPLE_ROWS)} holds no queries: {RESTORE}")
    return sample


def _arrays(rows: int, dim: int) -> dict[str, Array]:
    return {SAMPLE_ROWS: array("|i1", rows, dim), SAMPLE_SCALES: array("<f4", rows)}


def _cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    length = math.sqrt(float(np.square(a_D).sum())) * math.sqrt(float(np.square(b_D).sum()))
    return float((a_D * b_D).sum()) / length if length > 0 else 0.0
