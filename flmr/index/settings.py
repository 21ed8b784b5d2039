"""What a search may be told, and the plan that follows from it.

Knows sizes: how many vectors, items, query rows and results, and what was measured on the index.  Knows nothing
of arrays or files.
The defaults of a search are written here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from flmr.errors import InvalidInput
from flmr.index.manifest import PlanRecord
from flmr.ops.arrays import Device

DEFAULT_TARGET_RECALL = 0.99  # of what an exact search on the same codes returns

# Below this a scan of everything costs about as much as choosing what to leave out.
SCAN_VECTORS = 16_384

# How many items to estimate, by target recall, where nothing was measured with queries like this one: times
# (items / 1000) ** 0.73 for a query that was merged to 16 rows and k = 10.  By rough scores from codes alone an item of
# the best 10 of 5,000 (16,351; 100,000) is within 2,885 (5,497; 18,474) at the 99th percentile, one of the best 100
# within 3,256 (6,774; 25,827).  Of queries of 320 rows, merged to 33 on average, the best 10 are within 296 (215; 518)
# at the 99.75th, the best 100 within 863 (1,161; 2,657): the more rows, the more their errors average out.
# Token states of a MiniLM, questions padded with [MASK] to 32 rows.
_EFFORT = ((0.90, 400.0), (0.95, 610.0), (1.00, 920.0))
EFFORT_POWER = 0.73
EFFORT_ROWS = 16
MORE_PER_DECADE = 0.5  # of k: of 16,351 items the best 100 are found to .994, with 0.19 to .986 (8 bits)
ALMOST_ALL = 0.75  # of the items: then all are estimated, in the order in which they are stored

# Estimates rank the best 10 of 5,000 within 17 at the 99th percentile of queries of 32 rows merged to 8, 60 at
# worst; the best 100 within 135, 268 at worst.
FINALISTS_PER_ROOT = 12.0  # times sqrt(k), on top of k
FINALISTS_POWER = 0.2  # of items / 5,000: of 100,000 (1,000,000) the best ten are within 63 (81) by their estimates
FINALISTS_ITEMS = 5000
RESCORED_PER_RESULT = 4  # where float16 vectors are kept, that correct more than an estimate's rounding
RESCORED_AT_LEAST = 64

# What an index measures of itself (flmr.index.calibrate): for so many results at such a recall, how many to look at.
MEASURED = tuple((k, recall) for k in (10, 100) for recall in (0.90, 0.95, 0.99))
SLOPES = (0.3, 1.0)  # least and greatest power of k by which counts grow
LOST_POWER, MOST_LOST_TIMES = 1.5, 3.0  # how counts grow with what merging loses, as a multiple of the sample's
# A search that finds more than a twentieth of its best items beyond the first third of what it has looked at looks at
# twice as many: a sample is too small to tell how hard the hardest questions are.
WIDEN_FROM, SAFE_SHARE, DEEP_SHARE = 0.95, 1 / 3, 0.05
GROWN = 4  # times the items that counts were measured on: from then on they say nothing


@dataclass(frozen=True)
class SearchParams:
    """How to search.

    exact: score everything.  target_recall: share of the exact results that may be expected, 0.99 if None; 1 scans.
    nprobe: look only at items in so many inverted lists of each query row, in segments that have lists (those of 4
    million vectors and more); None looks at all, which costs little and loses less.  candidates: items whose residuals
    are looked at.  Giving either prunes, however small the index is.
    threads: None means all cores this process may use; results do not depend on it.
    device: "cuda" lets an exact search choose on the CUDA device whom to score; hits and scores are those of "cpu".
    It is for items whose vectors are kept (nbits=0, or keep_vectors=True); they stay in the device's memory.
    """

    exact: bool = False
    target_recall: float | None = None
    nprobe: int | None = None
    candidates: int | None = None
    threads: int | None = None
    device: Device = "cpu"

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
        if self.device not in get_args(Device):
            raise InvalidInput(f"SearchParams: device must be 'cpu' or 'cuda', not {self.device!r}")
        if self.device == "cuda" and not self.exact:
            raise InvalidInput("SearchParams: a CUDA device scores everything: give exact=True with device='cuda'")


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
    recall: float
    measured: PlanRecord | None

    @property
    def by_means(self) -> bool:
        """Whether the mean vectors of all items are looked at."""
        return not self.scan and self.nprobe is None

    @property
    def widens(self) -> bool:
        """Whether more is looked at where the best items are found far down; not for modest aims."""
        return self.recall > WIDEN_FROM and self.asked is None

    def safely(self, count: int) -> int:
        """Of so many items that were looked at, within how many the best ones should be."""
        return self.k + max(0, math.ceil(SAFE_SHARE * (count - self.k)))

    def too_deep(self, deep: int) -> bool:
        """Whether so many of the best k items were farther down than is safe."""
        return deep > DEEP_SHARE * self.k

    def scored(self, items: int, *, vectors: bool, lost: float = 1.0) -> int:
        """Of so many items, how many to score after the estimates; vectors: from kept vectors."""
        usual = self.rescored if vectors else self.finalists
        return math.ceil(usual * math.pow(max(1.0, items / FINALISTS_ITEMS), FINALISTS_POWER) * math.sqrt(harder(lost)))

    def kept(self, items: int, *, known: bool, lost: float = 1.0) -> int:
        """Of so many items, how many to give rough scores to; known: whether the query is like the sample.

        lost: how many times as much as of the sample is lost where the query's rows are merged.
        """
        counts = self.measured.by_means if self.measured is not None else ()
        if self.asked is not None or not known or not counts:
            return items
        wanted = max(math.ceil(self._count(counts, items) * harder(lost)), 2 * self.finalists)
        return items if wanted >= ALMOST_ALL * items else wanted

    def candidates(self, items: int, rows: int, *, known: bool, lost: float = 1.0) -> int:
        """Of so many items, how many to estimate for a query of so many (merged) rows.

        Counts that were measured with sample queries hold for queries that are like them.  Those that were measured
        with the index's own vectors can but raise what is usual.
        """
        if self.asked is not None:
            return max(self.asked, self.k)
        if known and self.measured is not None:
            wanted = math.ceil(self._count(self.measured.rough, items) * harder(lost))
        else:
            wanted = self._usual(items, rows)
            if self.measured is not None and self.measured.likeness is None:
                wanted = max(wanted, self._count(self.measured.rough, items))
        wanted = max(wanted, 2 * self.finalists)
        return items if wanted >= ALMOST_ALL * items else wanted

    def _usual(self, items: int, rows: int) -> int:
        for_k = 1 + MORE_PER_DECADE * max(0.0, math.log10(self.k / 10))
        for_rows = (EFFORT_ROWS / max(rows, EFFORT_ROWS)) ** 2
        return math.ceil(self.effort * for_k * for_rows * math.pow(items / 1000, EFFORT_POWER))

    def _count(self, counts: tuple[int, ...], items: int) -> int:
        """What was measured on other items for other k: the best k of so many are the best k * share of all measured.

        A straight line through the logarithms; beyond the recalls that were measured twice the last.
        """
        assert self.measured is not None
        recalls = sorted({recall for _, recall in MEASURED})
        few, many = (
            next((counts[MEASURED.index((k, limit))] for limit in recalls if self.recall <= limit), None)
            or 2 * counts[MEASURED.index((k, recalls[-1]))]
            for k in sorted({k for k, _ in MEASURED})
        )
        share = items / self.measured.items
        slope = min(max(math.log10(many / few), SLOPES[0]), SLOPES[1])
        return math.ceil(share * few * math.pow(self.k / share / 10, slope))


def harder(lost: float) -> float:
    """How many times as many items have to be looked at for a query that loses so many times what the sample's lose."""
    return math.pow(min(max(lost, 1.0), MOST_LOST_TIMES), LOST_POWER)


def plan(
    params: SearchParams, k: int, *, vectors: int, codes: bool, measured: PlanRecord | None = None, items: int = 0
) -> Plan:
    """The plan for a corpus or subset of so many vectors; codes: whether there are any to prune with.

    measured: what was measured on the index, which has so many items now.

    A scan where it was asked for, where there is nothing to prune with, and where there is little to scan.
    """
    recall = DEFAULT_TARGET_RECALL if params.target_recall is None else params.target_recall
    asked = params.nprobe is not None or params.candidates is not None
    return Plan(
        scan=params.exact or not codes or recall >= 1 or (vectors <= SCAN_VECTORS and not asked),
        nprobe=params.nprobe,
        finalists=k + math.ceil(FINALISTS_PER_ROOT * math.sqrt(k)),
        rescored=max(RESCORED_AT_LEAST, RESCORED_PER_RESULT * k),
        k=k,
        asked=params.candidates,
        effort=next(effort for limit, effort in _EFFORT if recall <= limit),
        recall=recall,
        measured=measured if measured is not None and items <= GROWN * measured.items else None,
    )
