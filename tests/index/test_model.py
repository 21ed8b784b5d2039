"""Random operations on an index against a dict and brute force."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from index.clustered import maxsim_scores

from flmr import Index, Passage, SearchParams
from flmr.errors import DuplicateId, UnknownId

DIM = 3
IDS = st.sampled_from([f"{c}{i}" for c in "aé" for i in range(6)])
VECTORS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-3, 4, size=(seed % 4, DIM)).astype(np.float32)
)
CONTENT = st.tuples(VECTORS, st.none() | st.integers(0, 3))
QUERIES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-3, 4, size=(1 + seed % 3, DIM)).astype(np.float32)
)

Content = tuple[np.ndarray, "int | None"]


class IndexAgainstDict(RuleBasedStateMachine):
    """Flat vectors of small whole numbers: scores are exact, and ties are common."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.committed: dict[str, Content] = {}
        self.waiting: dict[str, Content] = {}

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.folder)

    @initialize(items=st.dictionaries(IDS, CONTENT, min_size=1, max_size=5))
    def create(self, items: dict[str, Content]) -> None:
        self.index = Index.create(self.folder / "ix", *self.arguments(items), nbits=0)
        self.committed, self.waiting = dict(items), dict(items)

    @rule(items=st.dictionaries(IDS, CONTENT, min_size=1, max_size=4))
    def add(self, items: dict[str, Content]) -> None:
        if set(items) & set(self.waiting):
            with pytest.raises(DuplicateId):
                self.index.add(*self.arguments(items))
        else:
            self.index.add(*self.arguments(items))
            self.waiting.update(items)

    @rule(items=st.dictionaries(IDS, CONTENT, min_size=1, max_size=4))
    def update(self, items: dict[str, Content]) -> None:
        if set(items) - set(self.waiting):
            with pytest.raises(UnknownId):
                self.index.update(*self.arguments(items))
        else:
            self.index.update(*self.arguments(items))
            self.waiting.update(items)

    @rule(ids=st.sets(IDS, min_size=1, max_size=4))
    def delete(self, ids: set[str]) -> None:
        if ids - set(self.waiting):
            with pytest.raises(UnknownId):
                self.index.delete(sorted(ids))
        else:
            self.index.delete(sorted(ids))
            for item_id in ids:
                del self.waiting[item_id]

    @rule()
    def commit(self) -> None:
        self.index.commit()
        self.committed = dict(self.waiting)

    @rule()
    def merge(self) -> None:
        self.index.merge()
        self.committed = dict(self.waiting)
        assert self.index.info()["deleted_items"] == 0

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.folder / "ix")
        self.waiting = dict(self.committed)

    @rule(query=QUERIES, k=st.integers(1, 8), year=st.none() | st.integers(0, 3), only=st.none() | st.sets(IDS))
    def search(self, query: np.ndarray, k: int, year: int | None, only: set[str] | None) -> None:
        where = None if year is None else {"year": {"gte": year}}
        allowed = {
            item_id: vectors
            for item_id, (vectors, its) in self.committed.items()
            if len(vectors)
            and (only is None or item_id in only)
            and (year is None or (its is not None and its >= year))
        }
        scores = -maxsim_scores(query, list(allowed.values()))
        wanted = [(item_id, -score) for score, item_id in sorted(zip(scores, allowed, strict=True))][:k]
        for params in (SearchParams(exact=True), SearchParams()):
            hits = self.index.search(query, k, where=where, only_ids=only, params=params)[0]
            assert [(hit.id, hit.score) for hit in hits] == wanted

    @precondition(lambda self: hasattr(self, "index"))
    @invariant()
    def agrees(self) -> None:
        assert len(self.index) == len(self.committed)
        assert sorted(self.index.ids()) == sorted(self.committed)
        for item_id, (vectors, year) in self.committed.items():
            assert np.array_equal(self.index.vectors(item_id), vectors)
            passage = self.index.passage(item_id)
            assert passage is not None and passage.meta == ({} if year is None else {"year": year})

    @staticmethod
    def arguments(items: dict[str, Content]) -> Any:
        passages = [
            Passage(item_id, meta={} if year is None else {"year": year}) for item_id, (_, year) in items.items()
        ]
        return [vectors for vectors, _ in items.values()], list(items), passages


def machine(examples: int, steps: int) -> Any:
    case = IndexAgainstDict.TestCase
    return type(
        "Case",
        (case,),
        {
            "settings": settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
        },
    )


TestRandomOperationsAgreeWithADict = machine(examples=15, steps=25)


@pytest.mark.slow
class TestManyRandomOperationsAgreeWithADict(machine(examples=150, steps=50)):  # type: ignore[misc]
    """The same, longer."""
