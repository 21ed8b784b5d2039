"""The best k: the native kernel against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import ISAS

from flmr.errors import InvalidInput
from flmr.ops.topk import best_rows, best_rows_reference, topk, topk_reference


@given(
    count=st.integers(0, 600),
    k=st.integers(0, 700),
    distinct=st.integers(1, 1000),
    ranked=st.booleans(),
    isa=st.sampled_from(ISAS),
    seed=st.integers(0, 999),
)
@settings(max_examples=150, deadline=None)
def test_rows_equal_the_reference(count: int, k: int, distinct: int, ranked: bool, isa: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-distinct, distinct, count).astype(np.float32)
    scores[rng.random(count) < 0.1] = -np.inf
    scores[rng.random(count) < 0.1] = np.nan
    ranks = rng.permutation(count) if ranked else None
    found = topk(scores, k, ranks_N=ranks, isa=isa)
    np.testing.assert_array_equal(found, topk_reference(scores, k, ranks_N=ranks))
    np.testing.assert_array_equal(best_rows(scores, k), best_rows_reference(scores, k))


def test_ties_go_to_the_lower_row_or_to_the_lower_rank() -> None:
    scores = np.array([1, 2, 2, 1, 2], np.float32)
    assert topk(scores, 4).tolist() == [1, 2, 4, 0]
    assert topk(scores, 4, ranks_N=np.array([4, 3, 2, 1, 0])).tolist() == [4, 2, 1, 3]


def test_minus_infinity_and_nan_are_never_returned_and_plus_infinity_is_best() -> None:
    scores = np.array([-np.inf, np.nan, 0, np.inf, -3e38], np.float32)
    assert topk(scores, 5).tolist() == [3, 2, 4]


@pytest.mark.parametrize("isa", ISAS)
def test_many_equal_scores_at_the_threshold_keep_the_lowest_ranks(isa: str) -> None:
    ranks = np.random.default_rng(0).permutation(5000)
    found = topk(np.ones(5000, np.float32), 10, ranks_N=ranks, isa=isa)
    assert ranks[found].tolist() == list(range(10))


def test_strided_scores_are_accepted_and_wrong_inputs_named() -> None:
    scores = np.arange(20, dtype=np.float32)
    assert topk(scores[::-2], 2).tolist() == [0, 1]
    with pytest.raises(InvalidInput, match="k must"):
        topk(scores, -1)
    with pytest.raises(InvalidInput, match="float32"):
        topk(scores.astype(np.float64), 1)
    with pytest.raises(InvalidInput, match="length"):
        topk(scores, 1, ranks_N=np.arange(3))


@pytest.mark.parametrize("order", ["random", "rising", "falling", "equal", "few", "blocks"])
@pytest.mark.parametrize("k", [1, 57, 3000, 9999])
def test_best_rows_of_many_are_the_same_in_any_order(order: str, k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.standard_normal(40_001).astype(np.float32)
    if order == "rising":
        scores.sort()
    elif order == "falling":
        scores = np.sort(scores)[::-1].copy()
    elif order == "equal":
        scores[:] = 1
    elif order == "few":  # more are wanted than there are
        scores[rng.permutation(len(scores))[: len(scores) - 40]] = -np.inf
        scores[7] = np.nan
    else:  # what a sample of every so many would mistake: the best are all, or never, in the same places
        scores[::32] += 5 if k % 2 else -5
    np.testing.assert_array_equal(best_rows(scores, k), best_rows_reference(scores, k))
