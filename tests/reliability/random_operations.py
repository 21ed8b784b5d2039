"""Random operations on an index against a dict and brute force, with every way of storing vectors.

Knows what was committed and what waits.  Scores are compared with brute force over the vectors as they are stored, so
that codecs are held to what they decode; where vectors are stored as they came, they must be equal to the bit.
"""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401  # here, so that the children need not
from index.clustered import maxsim_scores
from reliability.attempts import Attempt, run_many
from reliability.contents import Settings, State, arguments, difference, passage_of
from reliability.samples import MEMORY, Unsynced, pick

from flmr import Index, SearchParams
from flmr.errors import AlreadyExists, DuplicateId, UnknownId

STEPS = 50  # of one attempt: a life of an index
MOST_ITEMS = 60
TOLERANCE = 0.01  # of a score against float64; rows have lengths of about 3
SETTINGS = (
    Settings(0),
    Settings(1),
    Settings(2),
    Settings(3, keep_vectors=True),
    Settings(4),
    Settings(8),
    Settings(2, passages=False),
    Settings(4, large=True),
    Settings(2, keep_vectors=True, large=True),
)


class Life:
    """One index and the dicts that it must agree with."""

    def __init__(self, rng: np.random.Generator, folder: Path, settings: Settings) -> None:
        self.rng = rng
        self.folder = folder
        self.settings = settings
        self.version = 0
        self.waiting: State = {}
        self.committed: State = {}
        self.stored: dict[str, np.ndarray] = {}
        self.ix = self._created(overwrite=False)
        self.see()

    def step(self) -> None:
        """One random operation, checked."""
        operations: dict[str, tuple[int, Callable[[], None]]] = {
            "add": (4, self.add),
            "update": (3, self.update),
            "delete": (3, self.delete),
            "commit": (4, self.commit),
            "merge": (1, self.merge),
            "calibrate": (1, self.calibrate),
            "reopen": (2, self.reopen),
            "overwrite": (1, self.overwrite),
            "search": (8, self.search),
            "look": (2, self.look),
        }
        weights = np.array([weight for weight, _ in operations.values()], float)
        names = list(operations)
        operations[names[int(self.rng.choice(len(names), p=weights / weights.sum()))]][1]()

    def add(self) -> None:
        items = self._fresh(int(self.rng.integers(1, 6)))
        if len(self.waiting) > MOST_ITEMS:
            return
        if self.waiting and self.rng.random() < 0.2:  # one of them is there already: none is added
            with raised(DuplicateId):
                self.ix.add(**arguments({**items, pick(self.rng, sorted(self.waiting)): 1}, self.settings))
            return
        self.ix.add(**arguments(items, self.settings))
        self.waiting.update(items)

    def update(self) -> None:
        self.version += 1
        items = dict.fromkeys(self._some(), self.version)
        if self.rng.random() < 0.2:
            with raised(UnknownId):
                self.ix.update(**arguments({**items, "nobody": 1}, self.settings))
            return
        if items:
            self.ix.update(**arguments(items, self.settings))
            self.waiting.update(items)

    def delete(self) -> None:
        doomed = self._some()
        if self.rng.random() < 0.2:
            with raised(UnknownId):
                self.ix.delete([*doomed, "nobody"])
            return
        self.ix.delete(doomed)
        for item_id in doomed:
            del self.waiting[item_id]

    def commit(self) -> None:
        self.ix.commit()
        self.committed = dict(self.waiting)
        self.see()

    def merge(self) -> None:
        self.ix.merge()
        self.committed = dict(self.waiting)
        assert self.ix.info()["deleted_items"] == 0 and self.ix.info()["segments"] <= 1
        self.see()

    def calibrate(self) -> None:
        self.ix.calibrate()
        self.committed = dict(self.waiting)
        self.see()

    def reopen(self) -> None:
        self.ix.close()
        self.ix = Index.open(self.folder, storage=Unsynced())
        self.waiting = dict(self.committed)
        self.see()

    def overwrite(self) -> None:
        with raised(AlreadyExists):
            self._created(overwrite=False)
        self.ix.close()
        self.ix = self._created(overwrite=True)
        self.see()

    def look(self) -> None:
        """What waits is not seen, and single items are."""
        assert len(self.ix) == len(self.committed)
        for item_id in [*self._some(), *self._fresh(1)]:
            assert (item_id in self.ix) == (item_id in self.committed)
            if item_id in self.committed:
                wanted = passage_of(item_id, self.committed[item_id]) if self.settings.passages else None
                assert self.ix.passage(item_id) == wanted
                assert np.array_equal(self.ix.vectors(item_id), self.stored[item_id])
            else:
                with raised(UnknownId):
                    self.ix.vectors(item_id)

    def search(self) -> None:
        """The best k of those that a filter and lists of ids leave, by brute force."""
        query = self.rng.standard_normal((int(self.rng.integers(1, 5)), self.settings.dim)).astype(np.float32)
        where, passes = self._filter()
        only = set(self._some()) | {"nobody"} if self.rng.random() < 0.3 else None
        exclude = set(self._some()) if self.rng.random() < 0.3 else None
        allowed = [
            item_id
            for item_id, version in self.committed.items()
            if len(self.stored[item_id])
            and (where is None or passes(version if self.settings.passages else None))
            and (only is None or item_id in only)
            and (exclude is None or item_id not in exclude)
        ]
        scores = dict(zip(allowed, maxsim_scores(query, [self.stored[i] for i in allowed]).tolist(), strict=True))
        k = int(self.rng.integers(1, MOST_ITEMS))
        best = sorted(scores.values(), reverse=True)[:k]
        filters: dict[str, Any] = {"where": where, "only_ids": only, "exclude_ids": exclude}
        for params in (SearchParams(exact=True), SearchParams(), SearchParams(nprobe=10_000, candidates=10_000)):
            hits = self.ix.search(query, k, params=params, **filters)[0]
            assert len(hits) == len(best), (params, len(hits), len(best))
            assert {hit.id for hit in hits} <= set(allowed)
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            for hit, wanted in zip(hits, best, strict=True):
                assert abs(hit.score - scores[hit.id]) < TOLERANCE and abs(hit.score - wanted) < TOLERANCE, (
                    params,
                    hit,
                )
        for params in (SearchParams(candidates=1), SearchParams(nprobe=1)):
            few = self.ix.search(query, k, params=params, **filters)[0]
            assert {hit.id for hit in few} <= set(allowed) and len(few) == len(best), params
            assert all(abs(hit.score - scores[hit.id]) < TOLERANCE for hit in few), params

    def see(self) -> None:
        """Everything that is committed, and how it is stored."""
        trouble = difference(self.ix, self.committed, self.settings)
        assert trouble is None, trouble
        self.stored = {item_id: self.ix.vectors(item_id) for item_id in self.committed}

    def _created(self, *, overwrite: bool) -> Index:
        items = self._fresh(int(self.rng.integers(1, 12)))
        ix = Index.create(
            self.folder,
            **arguments(items, self.settings),
            **self.settings.creation(),
            overwrite=overwrite,
            storage=Unsynced(),
        )
        self.waiting, self.committed = dict(items), dict(items)
        return ix

    def _fresh(self, count: int) -> State:
        self.version += 1
        return {f"{pick(self.rng, ['a', 'é', 'Z'])}{self.version}-{i}": self.version for i in range(count)}

    def _some(self) -> list[str]:
        ids = sorted(self.waiting)
        return [ids[i] for i in self.rng.permutation(len(ids))[: int(self.rng.integers(0, 5))].tolist()]

    def _filter(self) -> tuple[dict[str, Any] | None, Callable[[int | None], bool]]:
        """A filter and what it means for an item's version; None: the item has no metadata."""
        low, some = int(self.rng.integers(0, self.version + 1)), self.rng.integers(0, self.version + 1, 3).tolist()
        choices: list[tuple[dict[str, Any] | None, Callable[[int | None], bool]]] = [
            (None, lambda version: True),
            (None, lambda version: True),
            ({"version": {"gte": low}}, lambda version: version is not None and version >= low),
            ({"version": low, "even": low % 2 == 0}, lambda version: version == low),
            ({"version": {"in": some}}, lambda version: version in some),
            ({"not": {"version": {"lt": low}}}, lambda version: not (version is not None and version < low)),
            ({"or": [{"even": True}, {"version": None}]}, lambda version: version is None or version % 2 == 0),
            ({"and": [{"even": False}, {"version": {"ne": low}}]}, lambda v: v is not None and v % 2 == 1 and v != low),
            ({"absent": {"exists": False}}, lambda version: True),
        ]
        return choices[int(self.rng.integers(len(choices)))]


class raised:  # noqa: N801  # reads as pytest.raises, without importing pytest into every child
    """Asserts that its block raises."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        assert kind is not None and issubclass(kind, self.kind), f"expected {self.kind.__name__}, not {kind}"
        return True


def campaign(*, seconds: float | None = None, count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Steps for so long, or so many of them; each attempt is an index of 50 steps."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:

        def start() -> Attempt:
            return lambda number: _attempt(Path(scratch) / "ix", np.random.default_rng((seed, number)))

        figures = run_many(start, seconds=seconds, count=None if count is None else -(-count // STEPS), batch=20)
    return {"steps": STEPS * figures["attempts"], **figures}


def _attempt(folder: Path, rng: np.random.Generator) -> tuple[str, str | None]:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        settings = SETTINGS[int(rng.integers(len(SETTINGS)))]
        with settings.writing():
            life = Life(rng, folder, settings)
            for _ in range(STEPS):
                life.step()
            life.commit()
            life.ix.close()
        return "lives", None
    except Exception:
        return "failed", traceback.format_exc()[-800:]
