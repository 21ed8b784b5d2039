"""How much of the exact result an index finds, measured on vectors of its own.

Knows how to draw queries from what is stored.  Knows nothing of how a search goes about it.
"""

from __future__ import annotations

import numpy as np

from flmr.errors import InvalidInput
from flmr.index.sample import own_query
from flmr.index.searcher import Searcher
from flmr.index.settings import SearchParams


def self_check(
    searcher: Searcher, *, n: int = 200, k: int = 10, params: SearchParams | None = None, seed: int = 0
) -> dict[str, float]:
    """Share of the exact best k, and best 100, that a search returns: {"recall@10": ..., "recall@100": ...}.

    The truth is MaxSim against all items as they are stored.  The queries are up to n items' own rows with noise.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidInput(f"n must be a whole number from 1, not {n!r}")
    queries = own_queries(searcher, n, seed)
    recalls: dict[str, float] = {}
    for count in sorted({k, 100}):
        exact = searcher.search(queries, count, params=SearchParams(exact=True), passages=False)
        found = searcher.search(queries, count, params=params, passages=False)
        shares = [
            len({hit.id for hit in a} & {hit.id for hit in b}) / len(a) for a, b in zip(exact, found, strict=True) if a
        ]
        recalls[f"recall@{count}"] = float(np.mean(shares)) if shares else 1.0
    return recalls


def own_queries(searcher: Searcher, n: int, seed: int) -> list[np.ndarray]:
    """Up to n queries of up to 32 rows, each the rows of one item with noise: (rows, D) float32."""
    rng = np.random.default_rng(seed)
    ids = searcher.ids()
    queries = []
    for place in rng.permutation(len(ids))[:n]:
        rows = searcher.vectors(ids[place])
        if len(rows):
            queries.append(own_query(rows, rng))
    return queries
