"""Each measure against cases done by hand, and against ir-measures on random runs."""

from __future__ import annotations

import math
import random

import ir_measures
import pytest

from flmr.errors import InvalidInput
from flmr.evaluate.ndcg import ndcg
from flmr.evaluate.pseudo_recall import pseudo_recall
from flmr.evaluate.reciprocal_rank import reciprocal_rank
from flmr.evaluate.set_recall import set_recall
from flmr.evaluate.strict_recall import strict_recall

Run = dict[str, list[tuple[str, float]]]


def ranked(*ids: str) -> list[tuple[str, float]]:
    return [(id, float(-i)) for i, id in enumerate(ids)]


QRELS = {
    "one": {"a": 1},
    "two": {"a": 2, "b": 1, "c": 0},
    "none": {"a": 0},
    "below": {"a": -1, "b": 1},
    "lost": {"a": 1},
}
RUN = {"one": ranked("x", "a"), "two": ranked("b", "c", "a"), "none": ranked("a"), "below": ranked("a"), "other": []}


def test_strict_recall_is_one_where_any_positive_is_in_the_first_k() -> None:
    assert strict_recall(RUN, QRELS, 1) == {"one": 0.0, "two": 1.0, "below": 0.0, "lost": 0.0}
    assert strict_recall(RUN, QRELS, 2) == {"one": 1.0, "two": 1.0, "below": 0.0, "lost": 0.0}


def test_set_recall_is_the_share_of_positives_in_the_first_k() -> None:
    assert set_recall(RUN, QRELS, 1) == {"one": 0.0, "two": 0.5, "below": 0.0, "lost": 0.0}
    assert set_recall(RUN, QRELS, 3) == {"one": 1.0, "two": 1.0, "below": 0.0, "lost": 0.0}


def test_reciprocal_rank_looks_no_further_than_k() -> None:
    assert reciprocal_rank(RUN, QRELS, 10) == {"one": 0.5, "two": 1.0, "below": 0.0, "lost": 0.0}
    assert reciprocal_rank(RUN, QRELS, 1) == {"one": 0.0, "two": 1.0, "below": 0.0, "lost": 0.0}


def test_ndcg_weighs_grades_by_rank() -> None:
    third = 1 / math.log2(4)
    expected = {"one": 1 / math.log2(3), "two": (1 + 2 * third) / (2 + 1 / math.log2(3)), "below": 0.0, "lost": 0.0}
    assert ndcg(RUN, QRELS, 10) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [strict_recall, set_recall, reciprocal_rank, ndcg])
def test_the_order_of_the_run_counts_among_equal_scores(measure: object) -> None:
    best = {"q": [("a", 1.0), ("b", 1.0)]}
    worst = {"q": [("b", 1.0), ("a", 1.0)]}
    assert measure(best, {"q": {"a": 1}}, 1) == {"q": 1.0}  # type: ignore[operator]
    assert measure(worst, {"q": {"a": 1}}, 1) == {"q": 0.0}  # type: ignore[operator]


@pytest.mark.parametrize("measure", [strict_recall, set_recall, reciprocal_rank, ndcg])
def test_an_empty_run_is_all_misses(measure: object) -> None:
    assert measure({}, {"q": {"a": 1}}, 5) == {"q": 0.0}  # type: ignore[operator]


def random_case(seed: int) -> tuple[Run, dict[str, dict[str, int]]]:
    rng = random.Random(seed)
    ids = [f"p{i}" for i in range(30)]
    qrels = {f"q{i}": {p: rng.choice([0, 0, 1, 2, 4]) for p in rng.sample(ids, 8)} for i in range(20)}
    run = {q: [(p, 30.0 - i) for i, p in enumerate(rng.sample(ids, rng.randint(0, 25)))] for q in [*qrels][:-2]}
    return run, {q: judged for q, judged in qrels.items() if any(g > 0 for g in judged.values())}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 10])
def test_measures_agree_with_ir_measures(seed: int, k: int) -> None:
    run, qrels = random_case(seed)
    theirs = {
        strict_recall: ir_measures.Success @ k,
        set_recall: ir_measures.R @ k,
        reciprocal_rank: ir_measures.RR @ k,
        ndcg: ir_measures.nDCG @ k,
    }
    as_dicts = {q: dict(hits) for q, hits in run.items()}
    expected = ir_measures.calc_aggregate(list(theirs.values()), qrels, as_dicts)
    for ours, measure in theirs.items():
        values = ours(run, qrels, k)
        assert sum(values.values()) / len(values) == pytest.approx(expected[measure])


TEXTS = {"a": "The Eiffel Tower is 330 m high.", "b": "Paris", "c": ""}


def test_pseudo_recall_finds_any_answer_in_any_of_the_first_k_texts_whatever_the_case() -> None:
    run = {"q": ranked("c", "b", "a")}
    answers = {"q": ["EIFFEL tower", "berlin"]}
    assert [pseudo_recall(run, answers, TEXTS, k) for k in (1, 2, 3)] == [{"q": 0.0}, {"q": 0.0}, {"q": 1.0}]


def test_pseudo_recall_matches_inside_words_and_trims_answers() -> None:
    assert pseudo_recall({"q": ranked("b")}, {"q": [" ari "]}, TEXTS, 1) == {"q": 1.0}


def test_blank_answers_never_match_and_questions_with_no_other_are_left_out() -> None:
    assert pseudo_recall({"q": ranked("a"), "r": ranked("a")}, {"q": ["", "  "], "r": ["", "x!"]}, TEXTS, 1) == {
        "r": 0.0
    }


def test_pseudo_recall_takes_a_function_and_counts_missing_questions_as_misses() -> None:
    answers = {"q": ["paris"], "lost": ["paris"]}
    assert pseudo_recall({"q": ranked("b")}, answers, TEXTS.__getitem__, 5) == {"q": 1.0, "lost": 0.0}


def test_a_passage_without_a_text_is_named() -> None:
    with pytest.raises(InvalidInput, match="passage 'z' of the run has no text"):
        pseudo_recall({"q": ranked("z")}, {"q": ["x"]}, TEXTS, 1)
    with pytest.raises(InvalidInput, match="the text of passage 'z' is NoneType"):
        pseudo_recall({"q": ranked("z")}, {"q": ["x"]}, lambda id: None, 1)  # type: ignore[arg-type,return-value]


def test_a_string_in_place_of_a_list_of_answers_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must be a list of strings, not the string 'paris'"):
        pseudo_recall({"q": ranked("b")}, {"q": "paris"}, TEXTS, 1)
