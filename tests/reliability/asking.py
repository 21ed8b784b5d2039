"""All that a reader may ask of an index, whose only errors may be those that flmr raises on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from flmr import Index, SearchParams
from flmr.errors import FlmrError

FEW = 5


def question(dim: int) -> np.ndarray:
    """Rows that are asked for."""
    return np.linspace(-1, 1, 3 * dim, dtype=np.float32).reshape(3, dim)


def questions(ix: Index) -> list[Callable[[], object]]:
    """Searches of every kind, and whatever else reads files.  Answers of equal content are equal."""
    query = question(ix.dim)
    return [
        lambda: ix.search(query, FEW, passages=False),
        lambda: ix.search(query, FEW, params=SearchParams(exact=True)),
        lambda: ix.search(query, FEW, params=SearchParams(nprobe=2, candidates=FEW)),
        lambda: ix.search(query, FEW, params=SearchParams(nprobe=2), passages=False),  # as many as the plan says
        lambda: ix.search(query, FEW, where={"n": {"gte": 3}}, exclude_ids=["p4"], passages=False),
        lambda: ix.search(query, FEW, only_ids=["p0", "p3", "nobody"], params=SearchParams(threads=2)),
        lambda: [ix.vectors(item_id).tobytes() for item_id in ix.ids()[:FEW]],
        lambda: ix.passages(ix.ids()[-FEW:]),
        lambda: "p7" in ix,
        ix.info,
    ]


def answers(ix: Index, chosen: Iterable[int] | None = None) -> list[object]:
    """The answers to the chosen questions (None: all), or the words of the error."""
    asked = questions(ix)
    given: list[object] = []
    for number in range(len(asked)) if chosen is None else chosen:
        try:
            given.append(asked[number]())
        except FlmrError as error:
            given.append(f"{type(error).__name__}: {error}")
    return given
