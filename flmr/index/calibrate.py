"""What the plan of a search is made from: gains and counts, measured on the index itself.

Knows sample queries, and queries made of an index's own vectors where there are none.  Knows nothing of how a plan uses
what it measures (see `flmr.index.settings`).

Gains.  What an item's estimate is above the product with its mean vector, and above its rough score, on average over
the sample queries.  Added to these they rank far better, as items differ more in what every question gains on them than
in what one question does.

Counts.  How far down the ranking by means, and by rough scores, the best items of a query are found.

Shapes: N items of a segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flmr.index.manifest import PlanRecord
from flmr.index.sample import SAMPLE_QUERIES, Sample, own_query
from flmr.index.scoring import Part, Query
from flmr.index.settings import MEASURED, harder
from flmr.index.snapshot import View

# Of what a search may lose, ranks by means and by rough scores may each lose so much; estimates and rounding the rest.
SHARE = 0.25
# Of the best ten there are few ranks to judge by, the fewer of more items: 1 + 10 / k times the count that sufficed for
# 5,000, and beyond that a part that grows with their number (of 1,000,000 the sample's count, tripled, lost 2.3%).
SAFETY, SAFETY_ITEMS, SAFETY_POWER = 10.0, 5000, 0.3
LEAST_ITEMS = 1000  # counts measured on fewer say little about more


def measure_gains(view: View, sample: Sample, *, threads: int | None = None) -> np.ndarray:
    """What items gain on their mean vectors and on their rough scores, for a query whose rows' lengths add up to one.

    Returns (2, N) float32; 0 for an item without rows.
    """
    sums_2N = np.zeros((2, len(view.segment)))
    for query_QD in sample.queries:
        sums_2N += _gained(*_parts_of(view, Query(query_QD, threads)))
    return (sums_2N / len(sample.queries)).astype(np.float32)


def measure_plan(
    views: Sequence[View], sample: Sample | None, *, seed: int, threads: int | None = None
) -> PlanRecord | None:
    """How many items have to be looked at; None where there are too few of them, or of sample queries, to tell.

    views: with their gains, where there is a sample.
    """
    views = [view for view in views if view.segment.codec is not None]
    items = sum(len(view.segment) for view in views)
    if items < LEAST_ITEMS or (sample is not None and len(sample.queries) < 2):
        return None
    ranks: dict[int, list[np.ndarray]] = {k: [] for k, _ in MEASURED}
    queries = sample.queries if sample is not None else _own_queries(views, seed)
    losses = np.array(sample.losses) / sample.lost if sample is not None else np.ones(len(queries))
    for query_QD, lost in zip(queries, losses.tolist(), strict=True):
        scores_3N = np.concatenate([_scores(view, query_QD, sample, threads) for view in views], axis=1)
        estimates_N = scores_3N[2]
        for k in ranks:
            best = np.argpartition(estimates_N, -min(k, items))[-k:]
            places = np.array([_ranks(scores_N, best) for scores_N in scores_3N[:2]])
            ranks[k].append(places / harder(lost))  # a search multiplies by that again
    counts = [
        [_count(np.concatenate(ranks[k], axis=1)[stage], _safety(k, items), recall) for k, recall in MEASURED]
        for stage in range(2)
    ]
    return PlanRecord(
        items=items,
        likeness=sample.least_likeness if sample is not None else None,
        by_means=tuple(counts[0]) if sample is not None else (),
        rough=tuple(counts[1]),
    )


def _parts_of(view: View, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products with means, MaxSim with centroids and estimates of all items: (N,) float32 each."""
    part = Part(view, None)
    return query.means(part), query.codes(part), query.estimate(part).scores


def _gained(means_N: np.ndarray, codes_N: np.ndarray, estimates_N: np.ndarray) -> np.ndarray:
    """What estimates are above products with means, and above these and MaxSim with centroids: (2, N) float64."""
    filled_N = np.isfinite(estimates_N)
    by_means_N = np.where(filled_N, estimates_N.astype(np.float64) - means_N.astype(np.float64), 0)
    return np.stack([by_means_N, np.where(filled_N, by_means_N - codes_N, 0)])


def _scores(view: View, query_QD: np.ndarray, sample: Sample | None, threads: int | None) -> np.ndarray:
    """Scores by means, rough ones and estimates, (3, N) float32, as a search would find them.

    A sample query must not profit from what it has taught itself: its own share is taken out of the gains.
    """
    query = Query(query_QD, threads)
    if sample is None or view.gains_2N is None:
        part = Part(view, None)
        return np.stack([score(part).scores for score in (query.by_means, query.rough, query.estimate)])
    means_N, codes_N, estimates_N = _parts_of(view, query)
    others = len(sample.queries) - 1
    own_2N = _gained(means_N, codes_N, estimates_N)
    gains_2N = ((others + 1) * view.gains_2N.astype(np.float64) - own_2N) / others
    return np.stack([means_N + gains_2N[0], means_N + codes_N + gains_2N[1], estimates_N]).astype(np.float32)


def _own_queries(views: Sequence[View], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = np.cumsum([len(view.segment) for view in views])
    queries: list[np.ndarray] = []
    for place in rng.permutation(int(ends[-1]))[: 4 * SAMPLE_QUERIES].tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        segment = views[number].segment
        rows_TD = segment.vectors(place - int(ends[number]) + len(segment))
        if len(rows_TD) and len(queries) < SAMPLE_QUERIES:
            queries.append(own_query(rows_TD, rng))
    return queries


def _ranks(scores_N: np.ndarray, items: np.ndarray) -> np.ndarray:
    """How many items are before each of these."""
    ordered_N = np.sort(scores_N)
    before: np.ndarray = len(ordered_N) - np.searchsorted(ordered_N, scores_N[items], side="right")
    return before


def _safety(k: int, items: int) -> float:
    return 1 + SAFETY / k * math.pow(max(1.0, items / SAFETY_ITEMS), SAFETY_POWER)


def _count(ranks: np.ndarray, safety: float, recall: float) -> int:
    """How many items to keep so that a search loses no more than its share."""
    level = 1 - SHARE * (1 - recall)
    return math.ceil(safety * (float(np.quantile(ranks, level, method="higher")) + 1))
