"""A filtered search is the true top k of the items that pass, and a bad filter is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from index.clustered import clustered_items, queries_near

from flmr import Index, Passage, SearchParams
from flmr.errors import InvalidInput
from flmr.index.filters import Filter

ITEMS = clustered_items(5600, 8, rows=(1, 5))
QUERIES = queries_near(ITEMS, 4)
EXACT = SearchParams(exact=True)


def meta_of(i: int) -> dict[str, Any]:
    meta: dict[str, Any] = {"n": i, "year": 2000 + i % 25, "lang": ["en", "de", "fr"][i % 3], "share": i / 7}
    if i % 4 == 0:
        meta["note"] = None if i % 8 == 0 else f"note {i}"
    if i % 5 == 0:
        meta["flag"] = i % 2 == 0
    if i % 6 == 0:
        meta["tags"] = ["a", i % 12]
    return meta


METAS = [meta_of(i) for i in range(len(ITEMS))]
CASES: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({}, lambda m: True),
    ({"lang": "en"}, lambda m: m["lang"] == "en"),
    ({"lang": {"=": "en"}}, lambda m: m["lang"] == "en"),
    ({"year": {"gte": 2020}, "lang": "en"}, lambda m: m["year"] >= 2020 and m["lang"] == "en"),
    ({"year": {"gt": 2003, "lte": 2010.0}}, lambda m: 2003 < m["year"] <= 2010),
    ({"n": {"lt": 5}}, lambda m: m["n"] < 5),
    ({"n": 17}, lambda m: m["n"] == 17),
    ({"n": {"in": [3, 5, 10**9, None]}}, lambda m: m["n"] in (3, 5)),
    ({"lang": {"nin": ["en", "de"]}}, lambda m: m["lang"] == "fr"),
    ({"lang": {"ne": "en"}}, lambda m: m["lang"] != "en"),
    ({"lang": {"gt": "de"}}, lambda m: m["lang"] > "de"),
    ({"lang": {"gt": 3}}, lambda m: False),
    ({"note": None}, lambda m: m.get("note") is None),
    ({"note": {"ne": None}}, lambda m: m.get("note") is not None),
    ({"note": {"exists": True}}, lambda m: m.get("note") is not None),
    ({"note": {"exists": False}, "n": {"lt": 100}}, lambda m: m.get("note") is None and m["n"] < 100),
    ({"note": {"ne": "note 4"}}, lambda m: m.get("note") != "note 4"),
    ({"flag": True}, lambda m: m.get("flag") is True),
    ({"flag": {"in": [False]}}, lambda m: m.get("flag") is False),
    ({"flag": 1}, lambda m: False),
    ({"flag": {"lt": 5}}, lambda m: False),
    ({"tags": ["a", 6]}, lambda m: m.get("tags") == ["a", 6]),
    ({"nowhere": "x"}, lambda m: False),
    ({"nowhere": None}, lambda m: True),
    (
        {"or": [{"lang": "en", "year": 2001}, {"n": {"gte": 5590}}]},
        lambda m: (m["lang"], m["year"]) == ("en", 2001) or m["n"] >= 5590,
    ),
    (
        {"and": [{"lang": "en"}, {"not": {"year": {"in": [2001, 2002]}}}]},
        lambda m: m["lang"] == "en" and m["year"] not in (2001, 2002),
    ),
    ({"or": []}, lambda m: False),
    ({"and": []}, lambda m: True),
    ({"share": {"gte": 799.5}}, lambda m: m["share"] >= 799.5),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    passages = [Passage(f"p{i}", meta=meta) for i, meta in enumerate(METAS)]
    with Index.create(tmp_path_factory.mktemp("filters") / "ix", ITEMS[:4000], passages=passages[:4000], nbits=4) as ix:
        ix.add(ITEMS[4000:], passages=passages[4000:])
        ix.delete(["p3", "p4999"])
        ix.commit()
        yield ix


def subset_of(index: Index, passes: Callable[[dict[str, Any]], bool]) -> set[str]:
    return {f"p{i}" for i, meta in enumerate(METAS) if passes(meta)} - {"p3", "p4999"}


@pytest.fixture(scope="module")
def everything(index: Index) -> list[list[Any]]:
    return index.search(QUERIES, len(ITEMS), params=EXACT, passages=False)


@pytest.mark.parametrize(("where", "passes"), CASES, ids=[str(where) for where, _ in CASES])
def test_a_filter_gives_the_top_k_of_what_passes(
    index: Index, everything: list[list[Any]], where: dict[str, Any], passes: Callable[[dict[str, Any]], bool]
) -> None:
    allowed = subset_of(index, passes)
    wanted = [[(hit.id, hit.score) for hit in hits if hit.id in allowed][:20] for hits in everything]
    exact = index.search(QUERIES, 20, where=where, params=EXACT)
    assert [[(hit.id, hit.score) for hit in hits] for hits in exact] == wanted
    found = index.search(QUERIES, 20, where=where)
    assert all(len(hits) == min(20, len(allowed)) for hits in found)
    if len(allowed) <= 4000:  # small enough to be scanned whole
        assert found == exact


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_id_sets_give_the_top_k_of_the_set_at_any_selectivity(
    index: Index, everything: list[list[Any]], share: float
) -> None:
    rng = np.random.default_rng(0)
    chosen = [f"p{i}" for i in rng.permutation(len(ITEMS))[: int(share * len(ITEMS))]] + ["not there"]
    inside, outside = set(chosen), set(chosen)
    only = [[hit.id for hit in hits if hit.id in inside][:10] for hits in everything]
    without = [[hit.id for hit in hits if hit.id not in outside][:10] for hits in everything]
    assert [[hit.id for hit in hits] for hits in index.search(QUERIES, 10, only_ids=chosen, params=EXACT)] == only
    assert [[hit.id for hit in hits] for hits in index.search(QUERIES, 10, exclude_ids=chosen, params=EXACT)] == without
    if share <= 0.1:
        assert [[hit.id for hit in hits] for hits in index.search(QUERIES, 10, only_ids=iter(chosen))] == only


def test_filters_and_id_sets_narrow_each_other(index: Index) -> None:
    found = index.search(
        QUERIES[0], 50, where={"lang": "en"}, only_ids=[f"p{i}" for i in range(30)], exclude_ids=["p0", "p6"]
    )[0]
    assert {hit.id for hit in found} == {f"p{i}" for i in range(9, 30, 3)}


def test_a_filter_that_nothing_passes_gives_no_hits(index: Index) -> None:
    assert index.search(QUERIES, 5, only_ids=[]) == [[]] * len(QUERIES)
    assert index.search(QUERIES, 5, where={"n": {"lt": 0}}) == [[]] * len(QUERIES)
    assert index.search(QUERIES, 5, only_ids=["p1"], exclude_ids=["p1"]) == [[]] * len(QUERIES)


def test_items_without_passages_have_no_fields(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Index.create(tmp_path_factory.mktemp("bare") / "ix", ITEMS[:5]) as ix:
        assert len(ix.search(QUERIES[0], where={"lang": None})[0]) == 5
        assert ix.search(QUERIES[0], where={"lang": "en"}) == [[]]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"year": {"gtr": 3}}, "unknown operator 'gtr'; did you mean 'gt'?"),
        ({"year": {"$gte": 3}}, "did you mean 'gte'?"),
        ({"year": {"between": [1, 2]}}, "unknown operator 'between'; use one of eq, ne"),
        ({"year": {}}, "holds no operator"),
        ({"year": {"gt": None}}, "compares with a number or a string"),
        ({"year": {"gt": True}}, "compares with a number or a string"),
        ({"year": float("nan")}, "NaN equals nothing"),
        ({"year": {"in": "2020"}}, "'in' takes a list"),
        ({"year": {"exists": 1}}, "true or false"),
        ({"year": {1, 2}}, "is not a value that metadata can hold"),
        ({"or": {"year": 1}}, '"or" takes a list'),
        ({"not": [1]}, "must be a mapping"),
        ({3: 4}, "fields are strings"),
        ("year > 3", "must be a mapping"),
    ],
)
def test_a_bad_filter_is_named_with_the_remedy(where: Any, words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Filter(where)
    assert words in str(raised.value)


def test_bad_id_sets_are_refused(index: Index) -> None:
    for bad in ("p1", 7, [1]):
        with pytest.raises(InvalidInput):
            index.search(QUERIES[0], only_ids=bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            index.search(QUERIES[0], exclude_ids=bad)  # type: ignore[arg-type]
