"""Sample queries: what an index learns from them, how much less a search then looks at, and when they do not apply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index.clustered import clustered_items
from index.listed import as_if_large

from flmr import Index, MultiVectors, SearchParams
from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.sample import SAMPLE_QUERIES, make_sample
from flmr.index.scoring import Query
from flmr.index.settings import Plan, plan

DIM = 32
EXACT = SearchParams(exact=True)


def questions(count: int, items: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Queries as late interaction makes them: a few rows of a subject, many of padding that all of them share."""
    rng = np.random.default_rng(seed)
    padding = np.random.default_rng(99).standard_normal((3, DIM)).astype(np.float32)
    made = []
    for _ in range(count):
        subject = items[int(rng.integers(len(items)))][:6]
        rows = np.concatenate([subject, padding[rng.integers(3, size=18)]])
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) + 0.1 * rng.standard_normal(rows.shape)
        made.append(rows.astype(np.float32))
    return made


ITEMS = clustered_items(3000, DIM, rows=(8, 40), topics=60)
ASKED = questions(30, ITEMS, seed=1)
SAMPLE = questions(40, ITEMS, seed=2)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path = tmp_path_factory.mktemp("calibrated") / "ix"
    with Index.create(path, MultiVectors.from_list(ITEMS), nbits=2, sample_queries=SAMPLE) as ix:
        yield ix


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path = tmp_path_factory.mktemp("plain") / "ix"
    with Index.create(path, MultiVectors.from_list(ITEMS), nbits=2) as ix:
        yield ix


def ids(found: list) -> list[set[str]]:
    return [{hit.id for hit in hits} for hits in found]


def overlap(a: list, b: list) -> float:
    return float(np.mean([len(x & y) / len(y) for x, y in zip(ids(a), ids(b), strict=True)]))


def estimated(index: Index, query: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many items a search for ten estimates."""
    counts = []
    usual = Query.estimate
    monkeypatch.setattr(Query, "estimate", lambda self, part: counts.append(part.items) or usual(self, part))
    index.search([query], 10)
    monkeypatch.undo()
    return sum(counts)


@pytest.mark.parametrize("k", [10, 100])
def test_a_search_with_a_sample_loses_at_most_a_point(index: Index, k: int) -> None:
    assert overlap(index.search(ASKED, k), index.search(ASKED, k, params=EXACT)) >= 0.99


def test_counts_that_are_far_too_small_are_widened_as_far_as_a_query_needs(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "_count", lambda self, counts, items: 1)
    monkeypatch.setattr(Plan, "scored", lambda self, items, **how: 100)  # what is estimated is scored, too
    monkeypatch.setattr("flmr.index.settings.FINALISTS_PER_ROOT", 1.0)  # twice as many finalists are the fewest
    exact = index.search(ASKED, 10, params=EXACT)
    widened = overlap(index.search(ASKED, 10), exact)
    monkeypatch.setattr("flmr.index.settings.WIDEN_FROM", 1.0)
    assert overlap(index.search(ASKED, 10), exact) + 0.1 < widened


def test_a_query_looks_deeper_only_for_high_aims(index: Index) -> None:
    deep = plan(SearchParams(), 100, vectors=10**6, codes=True)
    assert deep.widens and not deep.too_deep(5) and deep.too_deep(6)
    assert deep.safely(400) == 200 and deep.safely(50) == 100
    assert not plan(SearchParams(target_recall=0.95), 10, vectors=10**6, codes=True).widens
    assert not plan(SearchParams(candidates=500), 10, vectors=10**6, codes=True).widens


def test_a_sample_saves_most_of_the_work(index: Index, plain: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with_sample, without = (estimated(ix, ASKED[0], monkeypatch) for ix in (index, plain))
    assert with_sample < without / 3, (with_sample, without)


def test_scores_do_not_depend_on_the_sample(index: Index, plain: Index) -> None:
    for ours, theirs in zip(index.search(ASKED, 20, params=EXACT), plain.search(ASKED, 20, params=EXACT), strict=True):
        assert [(hit.id, hit.score) for hit in ours] == [(hit.id, hit.score) for hit in theirs]
    exact = {hit.id: hit.score for hit in index.search([ASKED[0]], 3000, params=EXACT)[0]}
    assert all(exact[hit.id] == hit.score for hit in index.search([ASKED[0]], 100)[0])


def test_results_are_the_same_for_any_threads_and_batch(index: Index) -> None:
    together = index.search(ASKED, 10, params=SearchParams(threads=3))
    for query, hits in zip(ASKED, together, strict=True):
        alone = index.search([query], 10, params=SearchParams(threads=1))[0]
        assert [(hit.id, hit.score) for hit in alone] == [(hit.id, hit.score) for hit in hits]


def test_scale_of_a_query_changes_nothing_but_scores(index: Index) -> None:
    few, many = (index.search([factor * ASKED[0]], 10)[0] for factor in (np.float32(0.25), np.float32(64)))
    assert [hit.id for hit in few] == [hit.id for hit in many]
    assert few[0].score * 256 == pytest.approx(many[0].score)


def test_a_query_unlike_the_sample_is_searched_as_if_there_were_none(
    index: Index, plain: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = -ASKED[0]
    assert index.searcher()._likeness(strange) == 0 < index.searcher()._likeness(ASKED[0])
    assert estimated(index, strange, monkeypatch) == estimated(plain, strange, monkeypatch)
    assert overlap(index.search([strange], 10), index.search([strange], 10, params=EXACT)) == 1


def test_what_is_added_later_gains_too_and_merging_measures_anew(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:2000], sample_queries=SAMPLE) as ix:
        measured = ix._open().manifest.plan
        ix.add(ITEMS[2000:])
        ix.delete(["3", "2999"])
        ix.commit()
        assert all(view.gains_2N is not None for view in ix._open().views) and ix._open().manifest.plan == measured
        assert overlap(ix.search(ASKED, 10), ix.search(ASKED, 10, params=EXACT)) >= 0.99
        ix.merge()
        assert ix._open().manifest.plan != measured and ix._open().views[0].gains_2N.shape == (2, 2998)
        assert overlap(ix.search(ASKED, 10), ix.search(ASKED, 10, params=EXACT)) >= 0.99
        assert ix.verify() == [] and ix.info()["sample_queries"] == SAMPLE_QUERIES


def test_an_index_is_calibrated_after_it_was_built_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.create(tmp_path / "ix", ITEMS) as ix:
        before = estimated(ix, ASKED[0], monkeypatch)
        old = ix.searcher()
        ix.calibrate(SAMPLE)
        assert estimated(ix, ASKED[0], monkeypatch) < before / 3 and old.generation < ix.generation
        ix.calibrate()  # the sample that it has
        assert ix.info()["sample_queries"] == SAMPLE_QUERIES and ix.verify() == []
        names = {path.name for path in (tmp_path / "ix").iterdir()}
        assert len([name for name in names if "gains" in name or "sample" in name]) == 3, names
    with Index.open(tmp_path / "ix") as ix:
        assert estimated(ix, ASKED[0], monkeypatch) < before / 3


def test_without_a_sample_own_vectors_can_only_raise_the_counts(plain: Index) -> None:
    plan = plain._open().manifest.plan
    assert plan is not None and plan.likeness is None and plan.by_means == ()
    chosen = {"scan": False, "nprobe": None, "finalists": 58, "rescored": 64, "k": 10, "asked": None, "effort": 920.0}
    measured, usual = (Plan(**chosen, recall=0.99, measured=record) for record in (plan, None))
    assert measured.candidates(3000, 8, known=False) >= usual.candidates(3000, 8, known=False)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Index.create(tmp_path / name, ITEMS[:1500], sample_queries=SAMPLE).close()
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


def test_a_sample_is_sixteen_queries_spread_over_those_given() -> None:
    sample = make_sample(SAMPLE)
    assert len(sample.lengths) == SAMPLE_QUERIES and all(8 <= rows <= 24 for rows in sample.lengths)
    assert sample.likeness(SAMPLE[0], 0.0) == pytest.approx(np.linalg.norm(SAMPLE[0], axis=1).sum(), rel=0.3)
    assert sample.likeness(-SAMPLE[0], 0.0) == 0 and 0 < sample.least_likeness < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "no sample query"),
        ([np.zeros((2, DIM), np.float32)], "cancel"),
        ([np.ones((2, 5), np.float32)], "D=5"),
        ([np.full((2, DIM), np.nan, np.float32)], "NaN"),
        ("questions", "queries must be"),
    ],
)
def test_wrong_samples_change_nothing(index: Index, tmp_path: Path, wrong: list, message: str) -> None:
    generation = index.generation
    with pytest.raises(InvalidInput, match=message):
        index.calibrate(wrong)
    assert index.generation == generation
    with pytest.raises(InvalidInput, match=message):
        Index.create(tmp_path / "ix", ITEMS[:20], sample_queries=wrong)
    assert not (tmp_path / "ix").exists()


def test_flat_and_empty_indexes_take_a_sample_and_do_without(tmp_path: Path) -> None:
    for name, items, nbits in (("flat", ITEMS[:50], 0), ("empty", MultiVectors.from_list([], dim=DIM), 2)):
        with Index.create(tmp_path / name, items, nbits=nbits, sample_queries=SAMPLE[:1]) as ix:
            ix.calibrate(SAMPLE[:2])
            assert ix.verify() == [] and len(ix.search([ASKED[0]], 5)[0]) == min(5, len(ix))


def test_a_plan_or_gains_that_cannot_be_are_refused(tmp_path: Path) -> None:
    from flmr.index.manifest import seal, unseal

    with as_if_large():
        Index.create(tmp_path / "ix", ITEMS[:50], sample_queries=SAMPLE).close()
    path = tmp_path / "ix" / "manifest.json"
    whole = path.read_bytes()
    for change in (
        lambda m: m["plan"].update(rough=[1, 2]),
        lambda m: m["plan"].update(items=0),
        lambda m: m["plan"].update(by_means=[0] * 6),
        lambda m: m["sample"].update(lengths=[]),
        lambda m: m["sample"]["files"].update(other=m["sample"]["files"]["rows"]),
        lambda m: m["segments"][0]["gains_file"].update(name="../elsewhere.npy"),
        lambda m: m["segments"][0]["gains_file"].update(unit=-1.0),
    ):
        content = unseal(whole, path)
        change(content)
        path.write_bytes(seal(json.loads(json.dumps(content))))
        with pytest.raises(CorruptIndex):
            Index.open(tmp_path / "ix")
