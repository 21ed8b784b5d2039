"""A snapshot of an index, searchable.  Knows segments and scores; knows nothing of text, images or models.

Scores.  Every item has one score, that of the best representation that is stored: the kept float16 vectors where the
index keeps them (or is flat), else its codes.  An exact search scores all items by it; a pruned one ranks all by their
mean vectors and by their codes, estimates the best, and scores the finalists that are left by the very same function.
So an item's score never depends on how it was found.

Shapes: Q query rows, D dimension, K centroids, N items of a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np

from flmr.errors import InvalidInput, UnknownId
from flmr.index.far import Far, far_items, usual_length
from flmr.index.filters import Filter
from flmr.index.ids import checked_id
from flmr.index.lazy import lazy
from flmr.index.narrowing import finalists
from flmr.index.scoring import Part, Query, Scored, share_means
from flmr.index.settings import Plan, SearchParams, plan
from flmr.index.snapshot import Snapshot, View
from flmr.index.source import as_matrix
from flmr.ops.native import thread_count
from flmr.ops.topk import topk
from flmr.records import Hit, MultiVectors, Passage

TOGETHER = 8  # queries of a batch that share one look at the mean vectors
MAX_QUERY_VALUE = 1e24  # 65,535 rows x 8,192 dims x 65,504 x 1e24 still fits float32

Found = tuple[float, str, View, int]  # score, id, segment's view, row


class Searcher:
    """Immutable and thread-safe: it answers from the commit that it was made of, whatever is written since."""

    def __init__(self, snapshot: Snapshot) -> None:
        if not isinstance(snapshot, Snapshot):
            raise InvalidInput("a Searcher is made by Index.open(path).searcher()")
        self._snapshot = snapshot

    def __len__(self) -> int:
        return self._snapshot.manifest.items

    def __repr__(self) -> str:
        return f"<Searcher {self._snapshot.folder}: {len(self):,} items of D={self.dim}, commit {self.generation}>"

    def __reduce__(self) -> NoReturn:
        folder = str(self._snapshot.folder)
        raise TypeError(f"a Searcher cannot be pickled: make one where it is needed, Index.open({folder!r}).searcher()")

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
        params = SearchParams() if params is None else params
        if not isinstance(params, SearchParams):
            raise InvalidInput(f"params must be SearchParams(...), not {type(params).__name__}")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InvalidInput(f"k must be a whole number from 1, not {k!r}")
        matrices = as_queries(queries, self.dim)
        parts = self._parts(where, only_ids, exclude_ids)
        codes = any(part.view.segment.codec is not None for part in parts)
        chosen = plan(
            params,
            int(k),
            vectors=sum(part.vectors for part in parts),
            codes=codes,
            measured=self._snapshot.manifest.plan,
            items=len(self),
        )
        if params.device == "cuda":
            return self._hits(_on_device(matrices, parts, chosen.k, params.threads), passages)
        usual_lost = self._snapshot.sample.lost if self._snapshot.sample else 1.0
        far = {} if chosen.scan else self._far

        def answer(matrices: list[np.ndarray], threads: int) -> list[list[Found]]:
            likeness = [0.0 if chosen.scan else self._likeness(query_QD) for query_QD in matrices]
            asked = [Query(matrix, threads, far, like) for matrix, like in zip(matrices, likeness, strict=True)]
            for part in parts if chosen.by_means else ():
                share_means(asked, part)
            return [_answer(query, parts, chosen, usual_lost) for query in asked]

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
    def _far(self) -> dict[str, Far]:
        """The items of each segment that are unlike the others of the index."""
        segments = [view.segment for view in self._snapshot.views if view.segment.codec]
        if not segments:
            return {}
        usual = usual_length(np.concatenate([segment.residual_lengths for segment in segments]))
        return {segment.name: far_items(segment.residual_lengths, usual) for segment in segments}

    def _likeness(self, query_QD: np.ndarray) -> float:
        """How much of the usual sample query is in a query; 0 where it is unlike them or not all items have gains."""
        sample, measured = self._snapshot.sample, self._snapshot.manifest.plan
        if sample is None or measured is None or measured.likeness is None or not self._all_gain:
            return 0.0
        return sample.likeness(query_QD, measured.likeness)

    @lazy
    def _all_gain(self) -> bool:
        views = [view for view in self._snapshot.views if view.segment.codec is not None]
        return all(view.gains_2N is not None for view in views)

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


def _answer(query: Query, parts: list[Part], chosen: Plan, usual_lost: float) -> list[Found]:
    """probe -> by means -> rough -> estimate -> score -> topk: best first."""
    if not chosen.scan:
        parts = finalists(query, parts, chosen, usual_lost)
    return _best([query.score(part) for part in parts], chosen.k)


def _on_device(matrices: list[np.ndarray], parts: list[Part], k: int, threads: int | None) -> list[list[Found]]:
    """A CUDA device says of all queries at once who may be among the best; these are scored as everywhere."""
    named = [part.view.segment.best_on_device(matrices, k, part.rows) for part in parts]
    return [
        _best([Query(matrix, threads).score(Part(part.view, rows)) for part, rows in zip(parts, here, strict=True)], k)
        for matrix, *here in zip(matrices, *named, strict=True)
    ]


def _map_queries(
    answer: Callable[[list[np.ndarray], int], list[list[Found]]], queries: list[np.ndarray], threads: int | None
) -> list[list[Found]]:
    """Answers in order: many queries at once on one thread each, few one after another on all; the same either way."""
    count = thread_count(threads)
    alone = len(queries) < 2 * count or count == 1
    size = TOGETHER if alone else max(1, min(TOGETHER, len(queries) // (2 * count)))
    groups = [queries[first : first + size] for first in range(0, len(queries), size)]
    if alone:
        found = [answer(group, count) for group in groups]
    else:
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(lambda group: answer(group, 1), groups))
    return [entries for group in found for entries in group]


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


def _best(scored: list[Scored], k: int) -> list[Found]:
    """The best k of all segments; ties by id."""
    found = []
    for entry in scored:
        view, rows = entry.part.view, entry.part.all_rows()
        ranks = view.segment.ids.ranks_N[rows].astype(np.int64)
        for place in topk(entry.scores, k, ranks_N=ranks).tolist():
            row = int(rows[place])
            found.append((float(entry.scores[place]), view.segment.ids[row], view, row))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return found[:k]
