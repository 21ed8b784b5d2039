"""What a search may be told, and the plan that follows from it.

Knows sizes: how many vectors, items, query rows and results.  Knows nothing of arrays or files.
The defaults of a search are written here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from flmr.errors import InvalidInput

DEFAULT_TARGET_RECALL = 0.99  # of what an exact search on the same codes returns

# Below these a scan of everything costs about as much as choosing what to leave out.
SCAN_VECTORS = 16_384
SCAN_ITEMS_PER_CANDIDATE = 2

# How far to look, by target recall: lists a query row; candidates at least, for each result, and times items ** 0.8.
# Scores from centroids alone rank an item that belongs to the best 10 of 5,000 within the best 235 half of the time,
# but at the 99th percentile only within 2,474 (within 852 of 1,250): token states of a MiniLM, 4 bits, 2,048 centroids.
_EFFORT = (
    (0.90, 4, 512, 12, 1.0),
    (0.95, 8, 1024, 20, 1.6),
    (1.00, 16, 2048, 36, 2.8),
)
GROWTH = 0.8

RESCORED_PER_RESULT = 4  # candidates that are scored again from kept vectors, for each result
RESCORED_AT_LEAST = 64


@dataclass(frozen=True)
class SearchParams:
    """How to search.

    exact: score everything.  target_recall: share of the exact results that may be expected, 0.99 if None; 1 scans.
    nprobe: inverted lists for each query row; candidates: items that are scored in full.  Giving either prunes, however
    small the index is.  threads: None means all cores this process may use; results do not depend on it.
    """

    exact: bool = False
    target_recall: float | None = None
    nprobe: int | None = None
    candidates: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("nprobe", "candidates", "threads"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidInput(f"SearchParams: {name} must be a whole number from 1, or None, not {value!r}")
        recall = self.target_recall
        if recall is not None and (
            isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1
        ):
            raise InvalidInput(f"SearchParams: target_recall must lie above 0 and not above 1, not {recall!r}")
        if not isinstance(self.exact, bool):
            raise InvalidInput(f"SearchParams: exact must be True or False, not {self.exact!r}")


@dataclass(frozen=True)
class Plan:
    """How one query is answered.  Where `scan` holds, everything is scored and the rest does not matter."""

    scan: bool
    nprobe: int
    candidates: int
    rescored: int


def plan(params: SearchParams, k: int, *, items: int, vectors: int, all_items: int, codes: bool) -> Plan:
    """The plan for `items` items with `vectors` rows that a filter left of `all_items`; codes: whether there are lists.

    A scan where it was asked for, where there is nothing to prune with, where the corpus or subset is small, and where
    most of it would become candidates anyway.  A filter that leaves a share s of the items makes lists 1 / s as poor in
    what is wanted, so as many more are probed.
    """
    recall = DEFAULT_TARGET_RECALL if params.target_recall is None else params.target_recall
    _, nprobe, at_least, per_result, factor = next(row for row in _EFFORT if recall <= row[0])
    nprobe = params.nprobe or nprobe * max(1, round(all_items / max(items, 1)))
    candidates = max(k, params.candidates or max(at_least, per_result * k, round(factor * items**GROWTH)))
    asked = params.nprobe is not None or params.candidates is not None
    small = vectors <= SCAN_VECTORS or items <= SCAN_ITEMS_PER_CANDIDATE * candidates
    scan = params.exact or not codes or recall >= 1 or (small and not asked)
    return Plan(scan, nprobe, candidates, max(RESCORED_AT_LEAST, RESCORED_PER_RESULT * k))
