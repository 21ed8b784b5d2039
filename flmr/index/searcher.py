"""A snapshot of an index, searchable.  Knows segments and scores; knows nothing of text, images or models.

Scores.  Every item has one score, that of the best representation that is stored: the kept float16 vectors where the
index keeps them (or is flat), else its codes.  An exact search scores all items by it; a pruned one ranks all by their
codes alone, estimates the best of them, and scores the finalists that are left by the very same function.  So an item's
score never depends on how it was found.

Shapes: Q query rows, D dimension, K centroids, N items of a segment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput, UnknownId
from flmr.index.codec import Codec
from flmr.index.far import usual_length
from flmr.index.filters import Filter
from flmr.index.ids import checked_id
from flmr.index.lazy import lazy
from flmr.index.manifest import RESTORE
from flmr.index.settings import Plan, SearchParams, plan
from flmr.index.snapshot import Snapshot, View
from flmr.index.source import as_matrix
from flmr.ops.coded import Table, query_table
from flmr.ops.native import thread_count
from flmr.ops.topk import best_rows, topk
from flmr.records import Hit, MultiVectors, Passage

MAX_QUERY_VALUE = 1e24  # 65,535 rows x 8,192 dims x 65,504 x 1e24 still fits float32
MAX_QUERY_NORM = 1e31  # of 65,535 such rows of 8,192 dims; more only where the rotation is damaged

Found = tuple[float, str, View, int]  # score, id, segment's view, row


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
        if self.rows is None:
            return self.view.segment.layout.vectors
        offsets_N1 = self.view.segment.offsets
        return int((offsets_N1[self.rows.astype(np.int64) + 1] - offsets_N1[self.rows]).sum())


@dataclass(frozen=True)
class Scored:
    """A part with the score of each of its items."""

    part: Part
    scores: np.ndarray

    def rows(self) -> np.ndarray:
        """The rows that the scores belong to."""
        return np.arange(len(self.scores)) if self.part.rows is None else self.part.rows


class Searcher:
    """Immutable and thread-safe: it answers from the commit that it was made of, whatever is written since."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __len__(self) -> int:
        return self._snapshot.manifest.items

    @property
    def snapshot(self) -> Snapshot:
        """The commit that it answers from."""
        return self._snapshot

    @property
    def dim(self) -> int:
        """D."""
        return self._snapshot.manifest.dim

    @property
    def generation(self) -> int:
        """The number of the commit."""
        return self._snapshot.manifest.generation

    @property
    def encoder(self) -> dict[str, Any] | None:
        """What the index was told of the encoder of its vectors."""
        encoder = self._snapshot.manifest.encoder
        return dict(encoder) if encoder is not None else None

    def search(
        self,
        queries: MultiVectors | np.ndarray | Sequence[Any],
        k: int = 10,
        *,
        params: SearchParams | None = None,
        where: Mapping[str, Any] | None = None,
        only_ids: Iterable[str] | None = None,
        exclude_ids: Iterable[str] | None = None,
        passages: bool = True,
    ) -> list[list[Hit]]:
        """The best k items of each query, best first, ties by id; fewer where there are fewer that have rows.

        queries: MultiVectors, one (n, D) array, or a list of them.  where: see `flmr.index.filters`.  only_ids,
        exclude_ids: ids that are not in the index are ignored.  passages: whether hits carry them.
        Raises InvalidInput on a wrong D, a query that has no rows or is not finite, or a bad filter.
        """
        params = params or SearchParams()
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InvalidInput(f"k must be a whole number from 1, not {k!r}")
        matrices = as_queries(queries, self.dim)
        parts = self._parts(where, only_ids, exclude_ids)
        codes = any(part.view.segment.codec is not None for part in parts)
        chosen = plan(params, int(k), vectors=sum(part.vectors for part in parts), codes=codes)
        usual = math.inf if chosen.scan else self._usual_length
        answer = lambda query_QD, threads: _answer(_Query(query_QD, usual, threads), parts, chosen)  # noqa: E731
        return self._hits(_map_queries(answer, matrices, params.threads), passages)

    def ids(
        self,
        *,
        where: Mapping[str, Any] | None = None,
        only_ids: Iterable[str] | None = None,
        exclude_ids: Iterable[str] | None = None,
    ) -> list[str]:
        """The ids of all items, or of those that filters as those of `search` let through, in their stored order."""
        ids: list[str] = []
        for part in self._parts(where, only_ids, exclude_ids):
            stored = part.view.segment.ids.all()
            ids += stored if part.rows is None else [stored[row] for row in part.rows.tolist()]
        return ids

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self._snapshot.find(item_id) is not None

    def passage(self, item_id: str) -> Passage | None:
        """The passage stored with an item, or None where none was.  Raises UnknownId."""
        view, row = self._found(item_id)
        return view.segment.passages.take([item_id], [row])[0] if view.segment.passages else None

    def passages(self, item_ids: Iterable[str]) -> list[Passage | None]:
        """The passages of many items, in the order given, each part of a file read once.  Raises UnknownId."""
        places: dict[int, list[tuple[int, str, int]]] = {}  # segment -> (row, id, place in the answer)
        views = {id(view): view for view in self._snapshot.views}
        count = 0
        for count, item_id in enumerate(item_ids, 1):
            view, row = self._found(item_id)
            places.setdefault(id(view), []).append((row, item_id, count - 1))
        answer: list[Passage | None] = [None] * count
        for key, wanted in places.items():
            stored = views[key].segment.passages
            if stored:
                rows, ids, targets = zip(*sorted(wanted), strict=True)
                for target, passage in zip(targets, stored.take(ids, rows), strict=True):
                    answer[target] = passage
        return answer

    def vectors(self, item_id: str) -> np.ndarray:
        """An item's vectors as they are stored, decompressed: (n, D) float32.  Raises UnknownId."""
        view, row = self._found(item_id)
        return view.segment.vectors(row)

    @lazy
    def _usual_length(self) -> float:
        """Up to which mean length of its residuals an item is like the others."""
        lengths = [view.segment.residual_lengths for view in self._snapshot.views if view.segment.codec]
        return usual_length(np.concatenate(lengths)) if lengths else math.inf

    def _found(self, item_id: str) -> tuple[View, int]:
        found = self._snapshot.find(checked_id(item_id))
        if found is None:
            raise UnknownId(f"id {item_id!r} is not in {self._snapshot.folder}: check the id")
        return found

    def _parts(
        self, where: Mapping[str, Any] | None, only_ids: Iterable[str] | None, exclude_ids: Iterable[str] | None
    ) -> list[Part]:
        """What of each segment may be found."""
        accepted = Filter(where) if where is not None else None
        only, exclude = _id_set("only_ids", only_ids), _id_set("exclude_ids", exclude_ids)
        parts = []
        for view in self._snapshot.views:
            mask_N = view.alive_N
            for mask in _masks(view, accepted, only, exclude):
                mask_N = mask if mask_N is None else mask_N & mask
            rows = None if mask_N is None else view.alive_rows if mask_N is view.alive_N else _rows(mask_N)
            if rows is None or len(rows):
                parts.append(Part(view, rows))
        return parts

    def _hits(self, found: list[list[Found]], passages: bool) -> list[list[Hit]]:
        stored: dict[tuple[str, int], Passage | None] = {}
        wanted: dict[str, dict[int, tuple[str, View]]] = {}
        for _, item_id, view, row in (entry for entries in found for entry in entries) if passages else ():
            wanted.setdefault(view.segment.name, {})[row] = (item_id, view)
        for name, rows in wanted.items():
            source = next(iter(rows.values()))[1].segment.passages
            taken = source.take([item_id for item_id, _ in rows.values()], list(rows)) if source else [None] * len(rows)
            stored.update({(name, row): passage for row, passage in zip(rows, taken, strict=True)})
        return [
            [
                Hit(item_id, score, rank, stored.get((view.segment.name, row)))
                for rank, (score, item_id, view, row) in enumerate(entries, 1)
            ]
            for entries in found
        ]


class _Query:
    """One query's rows, and what each codec makes of them once: rotated, merged, scored with the centroids.

    usual: the mean length of residuals beyond which an item is unlike the others (see `flmr.index.far`).
    """

    def __init__(self, query_QD: np.ndarray, usual: float, threads: int) -> None:
        self._query_QD = query_QD
        self._usual = usual
        self._threads = threads
        self._rotated: dict[int, np.ndarray] = {}
        self._tables: dict[int, Table] = {}

    def rows(self, parts: list[Part]) -> int:
        """How many rows are left of it after merging, the most of any codec."""
        return max(
            (len(self._table(part.view.segment.codec).rows_MD) for part in parts if part.view.segment.codec), default=0
        )

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
        far = np.flatnonzero(segment.residual_lengths > self._usual).astype(np.uint32)
        return _restricted(part, np.union1d(found, far) if len(far) else found)

    def rough(self, part: Part) -> Scored:
        """Scores from codes alone, those of items that are far raised."""
        segment = part.view.segment
        if segment.codec is None:
            return Scored(part, np.full(part.items, -np.inf, np.float32))
        table = self._table(segment.codec)
        scores = segment.rough(table, part.rows, threads=self._threads)
        lengths = segment.residual_lengths if part.rows is None else segment.residual_lengths[part.rows]
        norms = float(np.linalg.norm(table.rows_MD.astype(np.float64), axis=1).sum())
        scores += min(norms, MAX_QUERY_NORM) * np.maximum(lengths - np.float32(self._usual), 0)
        return Scored(part, scores)

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


def _answer(query: _Query, parts: list[Part], chosen: Plan) -> list[Found]:
    """probe -> rough -> estimate -> score -> topk: best first."""
    if not chosen.scan:
        parts = _finalists(query, parts, chosen)
    return _best([query.score(part) for part in parts], chosen.k)


def _finalists(query: _Query, parts: list[Part], chosen: Plan) -> list[Part]:
    """The items that are worth scoring."""
    items = sum(part.items for part in parts)
    likely = parts
    if chosen.nprobe is not None:
        likely = [query.probe(part, chosen.nprobe) for part in parts]
        if sum(part.items for part in likely) < min(chosen.k, items):
            likely = parts  # the lists that were probed held too few: look at everything
    wanted = chosen.candidates(items, query.rows(parts))
    if sum(part.items for part in likely) > wanted:
        likely = _best_parts([query.rough(part) for part in likely], wanted)
    count = chosen.rescored if any(part.view.segment.has_vectors for part in parts) else chosen.finalists
    return _best_parts([query.estimate(part) for part in likely], count)


def _map_queries(
    answer: Callable[[np.ndarray, int], list[Found]], queries: list[np.ndarray], threads: int | None
) -> list[list[Found]]:
    """Answers in order: many queries at once on one thread each, few one after another on all; the same either way."""
    count = thread_count(threads)
    if len(queries) < 2 * count or count == 1:
        return [answer(query_QD, count) for query_QD in queries]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda query_QD: answer(query_QD, 1), queries))


def as_queries(queries: Any, dim: int) -> list[np.ndarray]:
    """Queries as (n, D) float32 arrays; raises InvalidInput naming the one that is wrong."""
    if isinstance(queries, np.ndarray) or (hasattr(queries, "shape") and not isinstance(queries, MultiVectors)):
        if len(queries.shape) != 2:
            raise InvalidInput(f"a query must have shape (n, D), not {tuple(queries.shape)}; give a list for several")
        queries = [queries]
    elif not isinstance(queries, MultiVectors | Iterable) or isinstance(queries, str | bytes | Mapping):
        raise InvalidInput(f"queries must be MultiVectors or (n, D) arrays, not {type(queries).__name__}")
    matrices = []
    for number, query in enumerate(queries):
        matrix = as_matrix(f"query {number}", query)
        if matrix.shape[1] != dim:
            raise InvalidInput(
                f"query {number} has D={matrix.shape[1]} but the index has D={dim}; encode it with the index's encoder"
            )
        if len(matrix) == 0:
            raise InvalidInput(f"query {number} has no rows; a query needs at least one")
        matrix = np.ascontiguousarray(matrix, np.float32)
        if not np.isfinite(matrix).all():
            raise InvalidInput(f"query {number} holds NaN or infinity: check the encoder")
        if np.abs(matrix).max() > MAX_QUERY_VALUE:
            raise InvalidInput(f"query {number} holds values beyond {MAX_QUERY_VALUE:g}: scale it down")
        matrices.append(matrix)
    return matrices


def _masks(view: View, accepted: Filter | None, only: set[str] | None, exclude: set[str] | None) -> list[np.ndarray]:
    segment, masks = view.segment, []
    if accepted is not None:
        column = segment.passages.column if segment.passages else lambda field: None
        masks.append(accepted.mask(column, len(segment)))
    if only is not None:
        masks.append(segment.ids.mask(only))
    if exclude:
        masks.append(~segment.ids.mask(exclude))
    return masks


def _id_set(name: str, ids: Iterable[str] | None) -> set[str] | None:
    if ids is None:
        return None
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInput(f"{name} must be a list of ids, not {ids!r}")
    wanted = set(ids)
    for item_id in wanted:
        checked_id(item_id)
    return wanted


def _rows(mask_N: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask_N).astype(np.uint32)


def _restricted(part: Part, candidates: np.ndarray) -> Part:
    """The candidates that belong to the part."""
    if part.rows is not None:
        wanted_N = np.zeros(len(part.view.segment), bool)
        wanted_N[part.rows] = True
        candidates = candidates[wanted_N[candidates]]
    return Part(part.view, candidates)


def _best_parts(scored: list[Scored], count: int) -> list[Part]:
    """The best items over all segments, as parts again, rows ascending."""
    if not scored:
        return []
    ends = np.cumsum([len(entry.scores) for entry in scored])
    best = best_rows(np.concatenate([entry.scores for entry in scored]), count)
    shares = np.split(best, np.searchsorted(best, ends[:-1]))
    parts = []
    for entry, end, rows in zip(scored, ends.tolist(), shares, strict=True):
        local = rows - np.uint32(end - len(entry.scores))
        parts.append(Part(entry.part.view, local if entry.part.rows is None else entry.part.rows[local]))
    return [part for part in parts if part.items]


def _best(scored: list[Scored], k: int) -> list[Found]:
    """The best k of all segments; ties by id."""
    found = []
    for entry in scored:
        view, rows = entry.part.view, entry.rows()
        ranks = view.segment.ids.ranks_N[rows].astype(np.int64)
        for place in topk(entry.scores, k, ranks_N=ranks).tolist():
            row = int(rows[place])
            found.append((float(entry.scores[place]), view.segment.ids[row], view, row))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return found[:k]
