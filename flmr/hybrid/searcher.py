"""A snapshot of an index, searched by rows and by words together.

Knows a searcher, the texts that its index stores, and how their rankings are made one.  Knows no model: queries come
with their rows.

The words' index is made in memory, when it is first needed, of the passages of the snapshot, and belongs to it: there
is no second thing to commit, verify or keep in step, and what was deleted or changed cannot be found by its old words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flmr.errors import InvalidInput
from flmr.evaluate.run import Ranking
from flmr.hybrid.feedback import expand
from flmr.hybrid.fuse import fuse
from flmr.hybrid.lexical import Lexical
from flmr.hybrid.refine import refine
from flmr.hybrid.settings import Feedback, Hybrid, Refinement
from flmr.index import Searcher, SearchParams
from flmr.index.lazy import lazy
from flmr.records import Hit, MultiVectors, Passage

SAMPLED = 256  # passages that stand for the collection when it is asked how rare a row is


class HybridSearcher:
    """Immutable; answers from one commit, as the searcher that it was made of."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    @property
    def generation(self) -> int:
        """The number of the commit."""
        return self._searcher.generation

    def search(
        self,
        texts: Sequence[str],
        rows: MultiVectors,
        k: int,
        hybrid: Hybrid,
        *,
        params: SearchParams | None = None,
        where: Mapping[str, Any] | None = None,
        only_ids: Sequence[str] | None = None,
        exclude_ids: Sequence[str] | None = None,
        passages: bool = True,
    ) -> list[list[Hit]]:
        """The best k passages of each query, whose words are texts[i] and whose rows are rows[i].

        A hit's score is the fused one.  A query without words is answered by its rows alone.
        Raises what `Searcher.search` and `Lexical` raise, and InvalidInput where the index stores no passages.
        """
        if len(texts) != len(rows):
            raise InvalidInput(f"{len(texts)} texts came with the rows of {len(rows)} queries; give one a query")
        filters: dict[str, Any] = {"where": where, "only_ids": only_ids, "exclude_ids": exclude_ids}
        depth = max(k, hybrid.depth)

        def by_rows(queries: MultiVectors) -> list[Ranking]:
            found = self._searcher.search(queries, depth, params=params, passages=False, **filters)
            return [[(hit.id, hit.score) for hit in hits] for hits in found]

        def fused(own: Ranking, words: Ranking) -> Ranking:
            return fuse(
                [own, words],
                method=hybrid.method,
                weights=[hybrid.weight, 1 - hybrid.weight],
                scale=hybrid.scale,
                constant=hybrid.constant,
            )

        by_words = self._by_words(texts, depth, hybrid, filters)
        found = by_rows(rows)
        if hybrid.feedback:
            believed = list(map(fused, found, by_words)) if hybrid.before else found
            rows = self._expanded(rows, believed, hybrid.feedback)
            found = by_rows(rows)
        if hybrid.refinement:
            rows = self._refined(rows, texts, found, by_words, hybrid.refinement)
            found = by_rows(rows)
        if hybrid.after or not (hybrid.feedback or hybrid.refinement):
            found = list(map(fused, found, by_words))
        return self._hits([ranking[:k] for ranking in found], passages)

    def _by_words(
        self, texts: Sequence[str], depth: int, hybrid: Hybrid, filters: Mapping[str, Any]
    ) -> list[list[tuple[str, float]]]:
        if hybrid.weight == 1 and not hybrid.refinement:
            return [[] for _ in texts]
        allowed = None
        if any(value is not None for value in filters.values()):
            allowed = np.zeros(len(self._lexical), bool)
            allowed[self._lexical.rows_of(self._searcher.ids(**filters))] = True
        return [self._lexical.search(text, depth, allowed=allowed) for text in texts]

    def _expanded(self, rows: MultiVectors, believed: Sequence[Ranking], settings: Feedback) -> MultiVectors:
        return MultiVectors.from_list(
            [
                expand(query_QD, self._rows_of(ranking[: settings.passages]), self._others, settings)
                if ranking
                else query_QD.astype(np.float32)
                for query_QD, ranking in zip(rows, believed, strict=True)
            ]
        )

    def _refined(
        self,
        rows: MultiVectors,
        texts: Sequence[str],
        found: Sequence[Ranking],
        by_words: Sequence[Ranking],
        settings: Refinement,
    ) -> MultiVectors:
        refined = []
        for query_QD, text, own, words in zip(rows, texts, found, by_words, strict=True):
            best = [*own[: settings.candidates], *words[: settings.candidates]]
            ids = sorted({passage for passage, _ in best})
            stored = {passage: self._searcher.vectors(passage) for passage in ids}
            ids = [passage for passage in ids if len(stored[passage])]
            if ids and words:
                guide_N = self._lexical.scores(text)[self._lexical.rows_of(ids)]
                query_QD = refine(query_QD, MultiVectors.from_list([stored[i] for i in ids]), guide_N, settings)
            refined.append(query_QD)
        return MultiVectors.from_list(refined)

    def _rows_of(self, ranking: Ranking) -> list[np.ndarray]:
        return [self._searcher.vectors(passage) for passage, _ in ranking]

    def _hits(self, rankings: Sequence[Ranking], passages: bool) -> list[list[Hit]]:
        stored: dict[str, Passage | None] = {}
        if passages:
            ids = list({passage for ranking in rankings for passage, _ in ranking})
            stored = dict(zip(ids, self._searcher.passages(ids), strict=True))
        return [
            [Hit(passage, score, rank, stored.get(passage)) for rank, (passage, score) in enumerate(ranking, 1)]
            for ranking in rankings
        ]

    @lazy
    def _lexical(self) -> Lexical:
        ids = sorted(self._searcher.ids())  # ties go by the order of the passages, and in an index by id
        stored = self._searcher.passages(ids)
        if not any(stored):
            raise InvalidInput("the index stores no passages, so it has no words to search by; build it with passages")
        return Lexical(ids, [passage.full_text if passage else "" for passage in stored])

    @lazy
    def _others(self) -> MultiVectors:
        ids = sorted(self._searcher.ids())
        chosen = np.random.default_rng(0).permutation(len(ids))[:SAMPLED]
        items = [self._searcher.vectors(ids[row]) for row in np.sort(chosen)]
        return MultiVectors.from_list([rows for rows in items if len(rows)], dim=self._searcher.dim)
