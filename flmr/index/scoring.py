"""One query against the items of segments: what each way of scoring says of them.

Knows rows of segments, merged and rotated queries, sketches, gains and codes.  Knows nothing of plans: who is scored in
which way is for others to say.

From the cheapest on: the product with an item's mean vector (`means`), MaxSim with every row taken as its centroid
(`rough`), MaxSim of the merged query with the codes (`estimate`), MaxSim with what is stored (`score`).

Shapes: Q query rows, D dimension, K centroids, N items of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.codec import Codec
from flmr.index.far import Far
from flmr.index.manifest import RESTORE
from flmr.index.snapshot import View
from flmr.ops.coded import Table, query_table

MAX_QUERY_NORM = 1e31  # of 65,535 rows of 8,192 dims of 1e24; more only where the rotation is damaged
NOBODY, NOTHING = np.empty(0, np.uint32), np.empty(0, np.float32)
MEANS_OF_UNKNOWN = 0.5  # what means count in rough scores of a query that is like no sample: see docs/log.md


@dataclass(frozen=True)
class Part:
    """Some items of one segment: rows, uint32 ascending, or None for all of them."""

    view: View
    rows: np.ndarray | None

    @property
    def items(self) -> int:
        """How many."""
        return len(self.view.segment) if self.rows is None else len(self.rows)

    @property
    def vectors(self) -> int:
        """How many rows they have together."""
        return self.view.segment.layout.vectors if self.rows is None else int(self._lengths().sum())

    @property
    def filled(self) -> int:
        """How many of them have rows at all, and so may be found."""
        return int(np.count_nonzero(self._lengths()))

    def _lengths(self) -> np.ndarray:
        offsets_N1 = self.view.segment.offsets
        rows = self.all_rows().astype(np.int64)
        lengths: np.ndarray = offsets_N1[rows + 1] - offsets_N1[rows]
        return lengths

    def of(self, values_N: np.ndarray) -> np.ndarray:
        """Of something that all items of the segment have, what the part's items have."""
        return values_N if self.rows is None else values_N[self.rows]

    def all_rows(self) -> np.ndarray:
        """Its rows, uint32 ascending."""
        return np.arange(len(self.view.segment), dtype=np.uint32) if self.rows is None else self.rows

    def restricted(self, candidates: np.ndarray) -> Part:
        """The candidates, uint32 ascending, that belong to the part."""
        if self.rows is not None:
            wanted_N = np.zeros(len(self.view.segment), bool)
            wanted_N[self.rows] = True
            candidates = candidates[wanted_N[candidates]]
        return Part(self.view, candidates)


@dataclass(frozen=True)
class Scored:
    """A part with the score of each of its items."""

    part: Part
    scores: np.ndarray


class Query:
    """One query's rows, and what each codec and segment makes of them once: rotated, merged, scored.

    far: by segment the rows, ascending, of items that are unlike the others, and by how much (see `flmr.index.far`).
    likeness: how much of the sample's usual query is in this one, 0 where the two are unlike: then gains say nothing.
    """

    def __init__(
        self, query_QD: np.ndarray, threads: int | None, far: Mapping[str, Far] | None = None, likeness: float = 0.0
    ) -> None:
        self._query_QD = query_QD
        self._far = far or {}
        self._threads = threads
        self.likeness = likeness
        self._rotated: dict[int, np.ndarray] = {}
        self._tables: dict[int, Table] = {}
        self._means: dict[int, np.ndarray] = {}

    def rows(self, parts: list[Part]) -> int:
        """How many rows are left of it after merging, the most of any codec."""
        return max(
            (len(self._table(part.view.segment.codec).rows_MD) for part in parts if part.view.segment.codec), default=0
        )

    def lost(self, parts: list[Part]) -> float:
        """What share of the lengths of the query's rows is lost where they are merged: by so much estimates may err."""
        codecs = [part.view.segment.codec for part in parts if part.view.segment.codec]
        whole = float(np.linalg.norm(self._query_QD.astype(np.float64), axis=1).sum())
        if not codecs or not whole > 0:
            return 0.0
        return 1 - float(np.linalg.norm(self._table(codecs[0]).rows_MD.astype(np.float64), axis=1).sum()) / whole

    def probe(self, part: Part, nprobe: int) -> Part:
        """What of a part is far or in the lists that the query's rows probe; all where its segment has no lists."""
        segment = part.view.segment
        if segment.codec is None:
            return part
        scores = self._table(segment.codec).scores
        scores_QK = np.ascontiguousarray(scores.transpose(0, 2, 1)).reshape(-1, scores.shape[1])
        rows = len(self._table(segment.codec).rows_MD)
        found = segment.candidates(scores_QK[:rows], nprobe=nprobe, threads=self._threads)
        if found is None:
            return part
        far, _ = self._far.get(segment.name, (NOBODY, NOTHING))
        return part.restricted(np.union1d(found, far) if len(far) else found)

    def by_means(self, part: Part) -> Scored:
        """Products with the items' mean vectors, with what items gain on them by their best rows."""
        scores = self.means(part) + self._gains(part, 0)
        self._raise_far(part, scores)
        return Scored(part, scores)

    def rough(self, part: Part) -> Scored:
        """Scores from codes and mean vectors, with what items gain on them; those of items that are far raised."""
        if part.view.segment.codec is None:
            return Scored(part, np.full(part.items, -np.inf, np.float32))
        share = np.float32(1 if self.likeness else MEANS_OF_UNKNOWN)
        scores = self.codes(part) + share * self.means(part) + self._gains(part, 1)
        self._raise_far(part, scores)
        return Scored(part, scores)

    def codes(self, part: Part) -> np.ndarray:
        """MaxSim of the merged query with the items' centroids: float32."""
        segment = part.view.segment
        assert segment.codec is not None
        return segment.rough(self._table(segment.codec), part.rows, threads=self._threads)

    def means(self, part: Part) -> np.ndarray:
        """Products of the sum of the query's rows with the items' mean vectors, 0 where these have no sketch: float32.

        What was asked for first, of a segment, holds all that is asked for later.
        """
        segment = part.view.segment
        if segment.codec is None or not segment.layout.sketched:
            return np.zeros(part.items, np.float32)
        if id(segment) not in self._means:
            share_means([self], part)
        return part.of(self._means[id(segment)])

    def estimate(self, part: Part) -> Scored:
        """About the scores."""
        segment = part.view.segment
        if segment.codec is None:
            return Scored(part, np.full(part.items, -np.inf, np.float32))
        return Scored(part, segment.estimate(self._table(segment.codec), part.rows, threads=self._threads))

    def score(self, part: Part) -> Scored:
        """The items' scores: from their vectors where these are stored, else from their codes."""
        segment = part.view.segment
        if segment.has_vectors:
            return Scored(part, segment.score_vectors(self._query_QD, part.rows, threads=self._threads))
        rotated_QD = self._rotate(segment.codec) if segment.codec else self._query_QD
        return Scored(part, segment.score_codes(rotated_QD, part.rows, threads=self._threads))

    def _gains(self, part: Part, of: int) -> np.ndarray | np.float32:
        gains_2N = part.view.gains_2N
        if gains_2N is None or not self.likeness:
            return np.float32(0)
        return np.float32(self.likeness) * part.of(gains_2N[of])

    def _raise_far(self, part: Part, scores: np.ndarray) -> None:
        """Add to the scores of items that are far what their residuals may add."""
        segment = part.view.segment
        rows, excess = self._far.get(segment.name, (NOBODY, NOTHING))
        if segment.codec is None or not len(rows):
            return
        if part.rows is not None:
            places = np.searchsorted(part.rows, rows)
            here = np.flatnonzero(places < len(part.rows))
            here = here[part.rows[places[here]] == rows[here]]
            rows, excess = places[here], excess[here]
        norms = float(np.linalg.norm(self._table(segment.codec).rows_MD.astype(np.float64), axis=1).sum())
        scores[rows] += min(norms, MAX_QUERY_NORM) * excess

    def _rotate(self, codec: Codec) -> np.ndarray:
        if id(codec) not in self._rotated:
            rotated_QD = codec.rotate(self._query_QD, threads=self._threads)
            if not np.isfinite(rotated_QD).all():  # a rotation that somebody else wrote
                raise CorruptIndex(f"the index's rotation is damaged; run verify, then {RESTORE}")
            self._rotated[id(codec)] = rotated_QD
        return self._rotated[id(codec)]

    def _table(self, codec: Codec) -> Table:
        if id(codec) not in self._tables:
            self._tables[id(codec)] = query_table(self._rotate(codec), codec.book, threads=self._threads)
        return self._tables[id(codec)]


def share_means(queries: Sequence[Query], part: Part) -> None:
    """Multiply all of these queries with the mean vectors of a part at once: eight take hardly longer than one."""
    segment = part.view.segment
    if segment.codec is None or not segment.layout.sketched:
        return
    rows_MD = np.array([query._rotate(segment.codec).sum(axis=0, dtype=np.float64) for query in queries], np.float32)
    found_MN = segment.means(rows_MD, part.rows, threads=queries[0]._threads)
    for query, found_N in zip(queries, found_MN, strict=True):
        query._means[id(segment)] = found_N
        if part.rows is not None:
            query._means[id(segment)] = np.zeros(len(segment), np.float32)
            query._means[id(segment)][part.rows] = found_N
