"""Chance levels are the exact means over all orders of a small corpus."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmr.errors import InvalidInput
from flmr.evaluate import chance, pseudo_recall
from flmr.evaluate.ndcg import ndcg, ndcg_chance
from flmr.evaluate.pseudo_recall import pseudo_recall_chance
from flmr.evaluate.reciprocal_rank import reciprocal_rank, reciprocal_rank_chance
from flmr.evaluate.set_recall import set_recall, set_recall_chance
from flmr.evaluate.strict_recall import strict_recall, strict_recall_chance

IDS = "abcde"
PAIRS = [
    (strict_recall, strict_recall_chance),
    (set_recall, set_recall_chance),
    (reciprocal_rank, reciprocal_rank_chance),
    (ndcg, ndcg_chance),
]


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
@pytest.mark.parametrize(("measure", "expected"), PAIRS)
@pytest.mark.parametrize(
    "judged", [{"a": 1}, {"a": 1, "c": 3}, {"a": 2, "b": 1, "d": 1, "e": 0}, dict.fromkeys(IDS, 1)]
)
def test_chance_is_the_mean_over_all_orders(
    measure: object, expected: object, k: int, judged: Mapping[str, int]
) -> None:
    orders = itertools.permutations(IDS)
    run = {str(i): [(p, float(-r)) for r, p in enumerate(order)] for i, order in enumerate(orders)}
    values = measure(run, dict.fromkeys(run, judged), k).values()  # type: ignore[operator]
    assert expected({"q": judged}, k, len(IDS)) == pytest.approx(sum(values) / len(values))  # type: ignore[operator]


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40))
def test_hit_chance_is_the_ratio_of_binomials(p: int, k: int, others: int) -> None:
    n = p + others
    if n == 0:
        return
    expected = 1 - math.comb(n - p, k) / math.comb(n, k) if k <= n else float(p > 0)
    assert chance.hit_chance(p, n, k) == pytest.approx(expected, abs=1e-12)


def test_hit_chance_keeps_its_digits_in_a_large_corpus() -> None:
    assert chance.hit_chance(1, 10**9, 5) == pytest.approx(5e-9, rel=1e-12)


def test_chance_is_averaged_over_the_questions_with_a_positive() -> None:
    qrels = {"one": {"a": 1}, "two": {"a": 1, "b": 1}, "none": {"a": 0}}
    assert strict_recall_chance(qrels, 1, 10) == pytest.approx((0.1 + 0.2) / 2)


def test_more_positives_than_passages_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2 positives among num_passages=1; give the size of the corpus"):
        strict_recall_chance({"q": {"a": 1, "b": 1}}, 1, 1)
    with pytest.raises(InvalidInput, match="k must be at least 1"):
        chance.hit_chance(1, 2, 0)


TEXTS = {"a": "red red", "b": "a RED bus", "c": "blue", "d": ""}


def test_pseudo_chance_counts_the_passages_that_contain_an_answer() -> None:
    answers = {"q": ["red", "BLUE"], "r": ["green"], "s": ["red"], "t": [""]}
    levels, num_searched = pseudo_recall_chance(answers, TEXTS, [1, 4])
    assert levels == pytest.approx([(3 / 4 + 0 + 2 / 4) / 3, 2 / 3])
    assert num_searched == 4


@given(
    st.lists(st.text("ab\0", max_size=5), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=3),
)
def test_pseudo_chance_agrees_with_looking_into_each_text(texts: list[str], answers: list[str]) -> None:
    share = sum(any(answer in text for answer in answers) for text in texts) / len(texts)
    levels, _ = pseudo_recall_chance({"q": answers}, {str(i): text for i, text in enumerate(texts)}, [1])
    assert levels == pytest.approx([share])


def test_pseudo_chance_of_a_large_corpus_is_estimated_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {str(i): "red" if i % 2 else "blu" for i in range(1000)}
    monkeypatch.setattr(pseudo_recall, "MAX_SEARCHED", 3 * 500)
    (level,), num_searched = pseudo_recall_chance({"q": ["red"]}, texts, [1])
    assert num_searched == 500 and level == pytest.approx(0.5, abs=0.1)
    assert pseudo_recall_chance({"q": ["red"]}, texts, [1])[0] == [level]


def test_pseudo_chance_of_nothing_is_zero() -> None:
    assert pseudo_recall_chance({}, TEXTS, [1, 2]) == ([0.0, 0.0], 4)
