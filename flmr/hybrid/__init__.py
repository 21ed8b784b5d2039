"""Words beside rows: a lexical partner, fusion of rankings, feedback and guided refinement of a query's rows.

Knows texts, rankings and searchers.  Knows no model and trains nothing.
"""

from flmr.hybrid.feedback import expand
from flmr.hybrid.fuse import fuse, fuse_runs
from flmr.hybrid.lexical import Lexical
from flmr.hybrid.refine import refine
from flmr.hybrid.searcher import HybridSearcher
from flmr.hybrid.settings import Feedback, Hybrid, Refinement

__all__ = [
    "Feedback",
    "Hybrid",
    "HybridSearcher",
    "Lexical",
    "Refinement",
    "expand",
    "fuse",
    "fuse_runs",
    "refine",
]
