"""What an index should hold, and whether it does: every item's vectors and passage follow from its id and version."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from index.clustered import maxsim_scores
from index.listed import as_if_large

from flmr import Index, Passage, SearchParams
from flmr.index import Searcher

State = dict[str, int]  # id -> version

# By bits: how far decoded vectors may lie from those that were given, as a share of the length that such vectors have
# on average.  Those of another version are about 1.4 away; one bit, with a codec fitted to three vectors, comes to 1.
FARTHEST: Mapping[int, float] = {0: 0.0, 1: 1.2, 2: 0.8, 3: 0.6, 4: 0.4, 8: 0.1}


@dataclass(frozen=True)
class Settings:
    """How an index stores what it holds.  large: with all that only large ones have, and sample queries."""

    nbits: int
    keep_vectors: bool = False
    passages: bool = True
    dim: int = 8
    large: bool = False

    def creation(self) -> dict[str, Any]:
        """What `create` is told of it."""
        sample = [item for number in range(4) if len(item := vectors_of(f"question {number}", 0, self.dim))]
        return {
            "nbits": self.nbits,
            "keep_vectors": self.keep_vectors,
            "sample_queries": sample if self.large else None,
        }

    def writing(self) -> AbstractContextManager[None]:
        """Where its index is to be written in."""
        return as_if_large() if self.large else nullcontext()


def vectors_of(item_id: str, version: int, dim: int) -> np.ndarray:
    """An item's rows, float16 values as float32: (0 to 4, dim)."""
    rng = np.random.default_rng((zlib.crc32(item_id.encode()), version))
    rows = rng.standard_normal((int(rng.integers(0, 5)), dim))
    return rows.astype(np.float16).astype(np.float32)


def passage_of(item_id: str, version: int) -> Passage:
    """An item's passage, which names its version."""
    return Passage(item_id, f"{item_id}, version {version}", meta={"version": version, "even": version % 2 == 0})


def arguments(items: State, settings: Settings) -> dict[str, Any]:
    """The items as `create`, `add` and `update` take them."""
    return {
        "vectors": [vectors_of(item_id, version, settings.dim) for item_id, version in items.items()],
        "ids": list(items),
        "passages": [passage_of(*item) for item in items.items()] if settings.passages else None,
    }


def difference(ix: Index | Searcher, wanted: State, settings: Settings) -> str | None:
    """In what an index differs from what it should hold; None where it does not."""
    ids = ix.ids()
    if len(ids) != len(wanted) or set(ids) != set(wanted):
        return f"holds {len(ids)} items, not {len(wanted)}: {sorted(set(ids) ^ set(wanted))[:5]} are one-sided"
    passages = ix.passages(ids)
    stored = {}
    for item_id, passage in zip(ids, passages, strict=True):
        version = wanted[item_id]
        if passage != (passage_of(item_id, version) if settings.passages else None):
            return f"{item_id!r} has the passage {passage}, not that of version {version}"
        stored[item_id] = ix.vectors(item_id)
        given = vectors_of(item_id, version, settings.dim)
        limit = 0.0 if settings.keep_vectors else FARTHEST[settings.nbits]
        far = float(np.linalg.norm(stored[item_id] - given)) if stored[item_id].shape == given.shape else np.inf
        if far > limit * np.sqrt(given.size):
            return f"{item_id!r} has other vectors than version {version}"
    return _wrong_search(ix, stored, settings)


def _wrong_search(ix: Index | Searcher, stored: Mapping[str, np.ndarray], settings: Settings) -> str | None:
    """Whether an exact search is brute force over the stored vectors."""
    query = np.linspace(-1, 1, 2 * settings.dim, dtype=np.float32).reshape(2, settings.dim)
    hits = ix.search(query, max(1, len(stored)), params=SearchParams(exact=True), passages=False)[0]
    scores = dict(zip(stored, maxsim_scores(query, list(stored.values())).tolist(), strict=True))
    if {hit.id for hit in hits} != {item_id for item_id, score in scores.items() if score > -np.inf}:
        return "a search for everything does not find every item that has rows"
    farthest = max((abs(hit.score - scores[hit.id]) for hit in hits), default=0.0)
    if farthest > 0.02 or any(a.score < b.score for a, b in pairwise(hits)):
        return f"scores are up to {farthest} from brute force, or out of order"
    return None
