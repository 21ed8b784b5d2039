"""What a search returns: the same whatever the plan, the threads, the batch and the segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index.clustered import best_ids, clustered_items, queries_near, recall

from flmr import Index, MultiVectors, Passage, SearchParams
from flmr.errors import InvalidInput, NativeError, UnknownId
from flmr.index import Searcher

EXACT = SearchParams(exact=True)
ITEMS = clustered_items(6000, 16, rows=(1, 8))
QUERIES = queries_near(ITEMS, 30)
WANTED = {k: [best_ids(q, {str(i): item for i, item in enumerate(ITEMS)}, k) for q in QUERIES] for k in (10, 100)}


def ids_of(results: list[list[Any]]) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in results]


def scores_of(results: list[list[Any]]) -> list[list[tuple[str, float]]]:
    return [[(hit.id, hit.score) for hit in hits] for hits in results]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searcher")


@pytest.fixture(scope="module", params=[2, 4])
def index(request: pytest.FixtureRequest, folder: Path) -> Iterator[Index]:
    with Index.create(folder / f"{request.param}", MultiVectors.from_list(ITEMS), nbits=request.param) as ix:
        yield ix


@pytest.fixture(scope="module")
def kept(folder: Path) -> Iterator[Index]:
    with Index.create(folder / "kept", MultiVectors.from_list(ITEMS), nbits=2, keep_vectors=True) as ix:
        yield ix


def test_recall_of_the_codec_rises_with_its_bits(folder: Path) -> None:
    # Floors a little below what was measured: .58 .75 .86 .92 .99 at 10, .70 .84 .92 .96 .99 at 100.
    floors = {1: (0.50, 0.62), 2: (0.68, 0.78), 3: (0.80, 0.87), 4: (0.87, 0.92), 8: (0.97, 0.975)}
    found: dict[int, list[float]] = {}
    for nbits in floors:
        with Index.create(folder / f"bits{nbits}", ITEMS, nbits=nbits, overwrite=True) as ix:
            found[nbits] = [recall(ids_of(ix.search(QUERIES, k, params=EXACT)), WANTED[k]) for k in (10, 100)]
        assert all(got >= floor for got, floor in zip(found[nbits], floors[nbits], strict=True)), found
    assert list(found.values()) == sorted(found.values())


@pytest.mark.parametrize("k", [10, 100])
def test_pruning_costs_at_most_a_point_of_recall_at_the_defaults(index: Index, k: int) -> None:
    exact = ids_of(index.search(QUERIES, k, params=EXACT))
    pruned = ids_of(index.search(QUERIES, k))
    assert recall(pruned, exact) >= 0.99
    assert recall(pruned, WANTED[k]) >= recall(exact, WANTED[k]) - 0.01


def test_the_default_really_prunes_this_corpus(index: Index) -> None:
    from flmr.index.settings import plan

    chosen = plan(SearchParams(), 10, vectors=27_000, codes=True)
    assert not chosen.scan and chosen.candidates(6000, rows=16, known=False) < 4000 and chosen.finalists < 60


def test_looking_at_everything_equals_exact(index: Index) -> None:
    everything = SearchParams(nprobe=10**12, candidates=10**12)
    assert scores_of(index.search(QUERIES, 50, params=everything)) == scores_of(index.search(QUERIES, 50, params=EXACT))


def test_an_items_score_does_not_depend_on_how_it_was_found(index: Index, kept: Index) -> None:
    for ix in (index, kept):
        exact = [{hit.id: hit.score for hit in hits} for hits in ix.search(QUERIES[:5], len(ITEMS), params=EXACT)]
        for params in (SearchParams(), SearchParams(nprobe=1, candidates=40), SearchParams(target_recall=0.5)):
            for hits, scores in zip(ix.search(QUERIES[:5], 20, params=params), exact, strict=True):
                assert len(hits) == 20
                assert all(hit.score == scores[hit.id] for hit in hits)


def test_kept_vectors_give_the_scores_of_float16(kept: Index) -> None:
    assert recall(ids_of(kept.search(QUERIES, 10, params=EXACT)), WANTED[10]) >= 0.995
    assert recall(ids_of(kept.search(QUERIES, 10)), WANTED[10]) >= 0.97


def test_higher_target_recall_finds_no_less(index: Index) -> None:
    exact = ids_of(index.search(QUERIES, 10, params=EXACT))
    found = [
        recall(ids_of(index.search(QUERIES, 10, params=SearchParams(target_recall=target))), exact)
        for target in (0.9, 0.95, 0.99, 1.0)
    ]
    assert found == sorted(found) and found[-1] == 1.0


def test_threads_change_nothing(index: Index, kept: Index) -> None:
    for ix in (index, kept):
        for settings in ({"exact": True}, {}, {"nprobe": 2, "candidates": 100}):
            one = ix.search(QUERIES, 20, params=SearchParams(threads=1, **settings))  # type: ignore[arg-type]
            assert ix.search(QUERIES, 20, params=SearchParams(threads=5, **settings)) == one  # type: ignore[arg-type]


def test_the_batch_changes_nothing(index: Index) -> None:
    together = index.search(QUERIES, 20)
    assert [index.search(query, 20)[0] for query in QUERIES] == together
    assert index.search(QUERIES[::-1], 20)[::-1] == together


def test_ragged_queries_in_any_form_are_the_same_queries(index: Index) -> None:
    ragged = [QUERIES[0][:1], QUERIES[1][:5], np.repeat(QUERIES[2], 40, axis=0)]
    wanted = index.search(ragged, 7)
    assert index.search(MultiVectors.from_list(ragged), 7) == wanted
    assert index.search((query for query in ragged), 7) == wanted  # type: ignore[arg-type]
    assert index.search([query.astype(np.float64) for query in ragged], 7) == wanted
    assert index.search([np.asfortranarray(query) for query in ragged], 7) == wanted
    assert index.search([query.tolist() for query in ragged], 7) == wanted
    assert index.search([], 7) == []


def test_many_segments_answer_like_one(folder: Path) -> None:
    items = ITEMS[:900]
    with (
        Index.create(folder / "one", items, nbits=0) as one,
        Index.create(folder / "many", items[:300], nbits=0) as many,
    ):
        for first in range(300, 900, 150):
            many.add(items[first : first + 150])
            many.commit()
        assert many.info()["segments"] == 5
        assert scores_of(many.search(QUERIES, 30)) == scores_of(one.search(QUERIES, 30))


def test_ties_are_broken_by_id_over_all_segments(folder: Path) -> None:
    item = [np.ones((1, 4), np.float32)]
    with Index.create(folder / "ties", item * 3, ["m", "z", "b"], nbits=2) as ix:
        for ids in (["a", "y"], ["n", "c"]):
            ix.add(item * 2, ids)
            ix.commit()
        for k in range(1, 8):
            assert ids_of(ix.search(item[0], k))[0] == ["a", "b", "c", "m", "n", "y", "z"][:k]


def test_fewer_items_than_k_is_no_error(index: Index) -> None:
    hits = index.search(QUERIES[0], 10**6)[0]
    assert len(hits) == len(ITEMS)
    assert [hit.rank for hit in hits] == list(range(1, len(ITEMS) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_pruned_search_returns_k_hits_wherever_there_are_k_items(index: Index) -> None:
    hits = index.search(QUERIES[:5], 2000, params=SearchParams(nprobe=1, candidates=1))
    assert all(len(found) == 2000 for found in hits)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (np.ones((2, 5)), "query 0 has D=5 but the index has D=16"),
        ([np.ones((1, 16)), np.ones((1, 3))], "query 1 has D=3"),
        ([np.ones((1, 16)), np.zeros((0, 16))], "query 1 has no rows"),
        (np.full((1, 16), np.nan), "query 0 holds NaN"),
        (np.full((1, 16), 1e30), "scale it down"),
        (np.ones(16), "give a list for several"),
        (np.ones((2, 3, 16)), "give a list for several"),
        ("which bridge?", "queries must be MultiVectors"),
        (None, "queries must be MultiVectors"),
        ([["a"] * 16], "shape"),
    ],
)
def test_bad_queries_are_named(index: Index, query: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("?", r"\?") if "?" in words else None) as raised:
        index.search(query)
    assert words in str(raised.value) or "must hold numbers" in str(raised.value)


@pytest.mark.parametrize("k", [0, -1, 2.5, "10", None, True])
def test_a_bad_k_is_refused(index: Index, k: Any) -> None:
    with pytest.raises(InvalidInput, match="k must be a whole number"):
        index.search(QUERIES[0], k)


@pytest.mark.parametrize(
    "settings",
    [{"nprobe": 0}, {"candidates": 1.5}, {"threads": -1}, {"target_recall": 0}, {"target_recall": 2}, {"exact": 1}],
)
def test_bad_search_params_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        SearchParams(**settings)


def test_params_of_another_type_are_refused(index: Index) -> None:
    with pytest.raises(InvalidInput, match=r"params must be SearchParams\(\.\.\.\), not dict"):
        index.search(np.ones((1, index.dim), np.float32), params={"exact": True})  # type: ignore[arg-type]


def test_hits_carry_their_passages_unless_not_wanted(folder: Path) -> None:
    passages = [
        Passage(f"p{i}", f"text {i}", f"title {i}", f"{i}.png", {"n": i, "tags": ["é", None]}) for i in range(600)
    ]
    with Index.create(folder / "passages", ITEMS[:600], passages=passages) as ix:
        ix.add(ITEMS[600:602], ["bare", "dressed"], [None, Passage("dressed", "late")])
        ix.commit()
        ix.merge()
        known = {passage.id: passage for passage in passages} | {"bare": None, "dressed": Passage("dressed", "late")}
        for hits in ix.search(QUERIES, 50, params=EXACT):
            assert all(hit.passage == known[hit.id] for hit in hits)
        assert all(hit.passage is None for hit in ix.search(QUERIES[0], 5, passages=False)[0])
        assert ix.passage("p599") == passages[599] and ix.passage("bare") is None


def test_a_search_changes_nothing_about_the_next_one(index: Index) -> None:
    searcher: Searcher = index.searcher()
    before = searcher.search(QUERIES[:3], 10)
    searcher.search(QUERIES[3], 1000, params=SearchParams(nprobe=1, candidates=3, threads=1), only_ids=["1", "2"])
    assert searcher.search(QUERIES[:3], 10) == before


def test_many_passages_come_in_the_order_asked_from_all_segments(tmp_path: Path) -> None:
    def some(first: int, last: int) -> list[Passage]:
        return [Passage(str(i), f"text {i}", meta={"i": i}) for i in range(first, last)]

    rows = np.ones((1, 4), np.float32)
    with Index.create(tmp_path / "ix", [rows] * 5, passages=some(0, 5)) as ix:
        ix.add([rows] * 5, passages=some(5, 10))
        ix.add([rows], ["bare"])
        ix.commit()
        asked = ["9", "bare", "0", "7", "3", "0"]
        assert ix.passages(asked) == [ix.passage(item_id) for item_id in asked]
        assert ix.passages([]) == []
        with pytest.raises(UnknownId, match="nowhere"):
            ix.passages(["0", "nowhere"])


def read_here_and_there(path: Path) -> list[bool]:
    """Whether the system was told that this file is, of each map of it that this process has."""
    found, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("VmFlags:"):
            found.append("rr" in line.split())
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say how files are mapped")
def test_large_files_are_read_on_from_where_they_are_looked_at_only_when_much_of_them_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flmr.index.segment.SPARSE_BYTES", 1)
    few, scan = SearchParams(nprobe=1, candidates=20), EXACT
    with Index.create(tmp_path / "ix", MultiVectors.from_list(ITEMS), nbits=2) as made:
        before = scores_of(made.search(QUERIES, 10, params=few))
    with Index.open(tmp_path / "ix") as ix:
        residuals = tmp_path / "ix" / "0001" / "residuals.npy"
        for params, sparse in ((few, True), (scan, False), (few, True)):
            ix.search(QUERIES[:1], 10, params=params)
            assert read_here_and_there(residuals) == [sparse]
        assert scores_of(ix.search(QUERIES, 10, params=few)) == before
        ix.add([ITEMS[0]], ["again"])
        ix.commit()
        ix.merge()  # reads the old segment from end to end
        assert len(ix.search(QUERIES[0], 10)[0]) == 10 and ix.verify() == []


@pytest.fixture(scope="module")
def flat(folder: Path) -> Iterator[Index]:
    with Index.create(folder / "flat", MultiVectors.from_list(ITEMS[:200]), nbits=0) as ix:
        ix.add(MultiVectors.from_list(ITEMS[200:300]), ids=[str(i) for i in range(200, 300)])
        ix.delete(["7", "222"])
        ix.commit()
        yield ix


ON_CARD = SearchParams(exact=True, device="cuda")


def test_an_exact_search_on_a_card_gives_the_hits_and_scores_of_one_without(flat: Index, emulated_card: None) -> None:
    for how in ({}, {"only_ids": [str(i) for i in range(0, 300, 3)]}, {"exclude_ids": ["1"]}, {"only_ids": []}):
        for k in (1, 10, 500):
            found = flat.search(QUERIES[:4], k, params=ON_CARD, **how)
            assert scores_of(found) == scores_of(flat.search(QUERIES[:4], k, params=EXACT, **how))
    assert flat.search([], params=ON_CARD) == []


def test_a_card_searches_kept_vectors_and_refuses_codes(index: Index, kept: Index, emulated_card: None) -> None:
    found = kept.search(QUERIES[:1], 5, params=ON_CARD, only_ids=[str(i) for i in range(100)])
    assert scores_of(found) == scores_of(
        kept.search(QUERIES[:1], 5, params=EXACT, only_ids=[str(i) for i in range(100)])
    )
    with pytest.raises(InvalidInput, match=r"holds codes, .* nbits=0 or keep_vectors=True"):
        index.search(QUERIES[:1], params=ON_CARD)


def test_a_card_that_is_not_there_or_not_asked_to_scan_is_one_clear_error(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="give exact=True"):
        SearchParams(device="cuda")
    with pytest.raises(InvalidInput, match="'cpu' or 'cuda'"):
        SearchParams(exact=True, device="gpu")  # type: ignore[arg-type]
    if not pytest.importorskip("torch").cuda.is_available():
        with (
            Index.create(folder / "lone", MultiVectors.from_list(ITEMS[:9]), nbits=0) as ix,
            pytest.raises(NativeError, match="device='cpu'"),
        ):
            ix.search(QUERIES[:1], params=ON_CARD)
