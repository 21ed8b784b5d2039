"""Items like nothing that the codec was fitted to are found by default; the others are ranked as before."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from index.clustered import clustered_items, queries_near, recall
from index.listed import lists_from

from flmr import Index, SearchParams
from flmr.index.far import MOST_PER_ROOT, mean_lengths, usual_length

DIM = 64
ITEMS = clustered_items(3000, DIM, rows=(4, 12))
PRUNED = SearchParams(candidates=300)  # a tenth
STRANGE = [f"strange {seed}" for seed in range(5) for _ in range(3)]
PROBED = SearchParams(candidates=300, nprobe=2)


def strange(seed: int, rows: int = 20) -> np.ndarray:
    """An item of random directions."""
    vectors = np.random.default_rng(1000 + seed).standard_normal((rows, DIM)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="module", params=[2, 4, 8])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """One segment, then five more of one strange item each."""
    with lists_from(1):
        ix = Index.create(tmp_path_factory.mktemp("far") / "ix", ITEMS, nbits=request.param)
        for seed in range(5):
            ix.add([strange(seed)], [f"strange {seed}"])
            ix.commit()
    return ix


def found_first(ix: Index, params: SearchParams) -> list[str]:
    return [ix.search(strange(seed)[:rows], 1, params=params)[0][0].id for seed in range(5) for rows in (1, 4, 20)]


@pytest.mark.parametrize("params", [PRUNED, PROBED])
def test_an_added_item_unlike_all_others_is_found_by_its_own_rows(index: Index, params: SearchParams) -> None:
    assert found_first(index, params) == STRANGE
    exact = index.search(strange(0), 1, params=SearchParams(exact=True))[0][0]
    assert index.search(strange(0), 1, params=params)[0][0].score == exact.score


def test_it_is_found_after_a_merge_and_among_others_that_a_filter_leaves(index: Index) -> None:
    rest = [f"strange {seed}" for seed in range(5)] + [str(i) for i in range(0, 3000, 2)]
    hits = index.search(strange(3), 1, params=PRUNED, only_ids=rest)[0]
    assert hits[0].id == "strange 3"
    index.merge()
    assert found_first(index, PRUNED) == STRANGE


def test_ordinary_questions_find_what_they_found_without_it(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = queries_near(ITEMS, 40)
    exact = [[hit.id for hit in hits] for hits in index.search(queries, 10, params=SearchParams(exact=True))]
    raised = [[hit.id for hit in hits] for hits in index.search(queries, 10, params=PRUNED)]
    monkeypatch.setattr("flmr.index.searcher.usual_length", lambda lengths_N: math.inf)
    index.refresh()
    plain = [[hit.id for hit in hits] for hits in Index.open(index.path).search(queries, 10, params=PRUNED)]
    assert found_first(Index.open(index.path), PRUNED) != STRANGE, "not strange enough to show anything"
    assert recall(raised, exact) >= recall(plain, exact) - 0.01


def test_lengths_are_means_of_residuals_and_few_are_unusual(tmp_path: Path) -> None:
    items = [*ITEMS[:400], np.empty((0, DIM), np.float32), *ITEMS[400:1000]]
    with Index.create(tmp_path / "ix", items, nbits=4) as ix:
        segment = ix._open().views[0].segment
        codec = segment.codec
        assert codec is not None
        lengths_N = segment.residual_lengths
        codes_T, packed_TP, scales_T = segment.encoded(0, segment.layout.vectors)
        residuals_TD = codec.decode_rotated(codes_T, packed_TP, scales_T) - codec.nearest(codes_T)
        wanted = [
            np.linalg.norm(rows, axis=1).mean() for rows in np.split(residuals_TD, segment.offsets[1:-1]) if len(rows)
        ]
    full = lengths_N > 0
    assert full.sum() == 1000 and not full[400]
    assert np.corrcoef(lengths_N[full], wanted)[0, 1] > 0.95
    assert (lengths_N > usual_length(lengths_N)).sum() <= MOST_PER_ROOT * math.sqrt(1000)
    assert usual_length(np.zeros(3, np.float32)) == math.inf
    damaged = np.array([5, -3, 10**9, 2], np.int64)
    assert np.isfinite(mean_lengths(codec, scales_T, damaged)).all()
