"""What a search may be told, and the plan that follows from it.

Knows sizes: how many vectors, items, query rows and results.  Knows nothing of arrays or files.
The defaults of a search are written here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flmr.errors import InvalidInput

DEFAULT_TARGET_RECALL = 0.99  # of what an exact search on the same codes returns

# Below this a scan of everything costs about as much as choosing what to leave out.
SCAN_VECTORS = 16_384

# How many items to estimate, by target recall: times sqrt(items) for a query that was merged to 16 rows and k = 10.
# Rough scores rank an item that belongs to the best 10 of 5,000 (of 16,351) within 2,181 (3,120) at the 95th
# percentile and within 2,885 (5,497) at the 99th; one of the best 100 within 3,256 (6,774).  For queries of 320 rows,
# merged to 48, it is within 213 (362).  Token states of a MiniLM, questions padded with [MASK] to 32 rows.
_EFFORT = ((0.90, 18.0), (0.95, 28.0), (1.00, 42.0))
EFFORT_ROWS = 16
MORE_PER_DECADE = 0.5  # of k: of 16,351 items the best 100 are found to .994, with 0.19 to .986 (8 bits)
ALMOST_ALL = 0.75  # of the items: then all are estimated, in the order in which they are stored

# Estimates rank the best 10 within 23 at the 95th percentile of queries of 32 rows that were merged to 8, 60 at worst;
# the best 100 within 243.
FINALISTS_PER_ROOT = 15.0  # times sqrt(k), on top of k
RESCORED_PER_RESULT = 4  # where float16 vectors are kept, that correct more than an estimate's rounding
RESCORED_AT_LEAST = 64

# Inverted lists are probed only where codes are too many to look at all of them.
PROBE_VECTORS = 1 << 25
PROBES = 64  # lists for each merged row


@dataclass(frozen=True)
class SearchParams:
    """How to search.

    exact: score everything.  target_recall: share of the exact results that may be expected, 0.99 if None; 1 scans.
    nprobe: inverted lists for each query row, in segments that have lists (4 million vectors and more); candidates:
    items whose residuals are looked at.  Giving either prunes, however small the index is.
    threads: None means all cores this process may use; results do not depend on it.
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
    """How one query is answered.  Where `scan` holds, everything is scored and the rest does not matter.

    nprobe: lists for each row, None to look at all codes.  finalists: items that are scored after the estimates.
    """

    scan: bool
    nprobe: int | None
    finalists: int
    rescored: int
    k: int
    asked: int | None
    effort: float

    def candidates(self, items: int, rows: int) -> int:
        """Of so many items, how many to estimate for a query of so many (merged) rows."""
        if self.asked is not None:
            return max(self.asked, self.k)
        for_k = 1 + MORE_PER_DECADE * max(0.0, math.log10(self.k / 10))
        wanted = math.ceil(self.effort * for_k * math.sqrt(items) * EFFORT_ROWS / max(rows, EFFORT_ROWS))
        wanted = max(wanted, 2 * self.finalists)
        return items if wanted >= ALMOST_ALL * items else wanted


def plan(params: SearchParams, k: int, *, vectors: int, codes: bool) -> Plan:
    """The plan for a corpus or subset of so many vectors; codes: whether there are any to prune with.

    A scan where it was asked for, where there is nothing to prune with, and where there is little to scan.
    """
    recall = DEFAULT_TARGET_RECALL if params.target_recall is None else params.target_recall
    asked = params.nprobe is not None or params.candidates is not None
    return Plan(
        scan=params.exact or not codes or recall >= 1 or (vectors <= SCAN_VECTORS and not asked),
        nprobe=params.nprobe or (PROBES if vectors > PROBE_VECTORS else None),
        finalists=k + math.ceil(FINALISTS_PER_ROOT * math.sqrt(k)),
        rescored=max(RESCORED_AT_LEAST, RESCORED_PER_RESULT * k),
        k=k,
        asked=params.candidates,
        effort=next(effort for limit, effort in _EFFORT if recall <= limit),
    )
