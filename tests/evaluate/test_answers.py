"""Exact match and the VQA score against cases worked by hand."""

from __future__ import annotations

import pytest

from flmr.evaluate.answers import exact_match, normalise_answer, vqa_score


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("The Eiffel Tower.", "eiffel tower"),
        ("two", "2"),
        ("1,500", "1500"),
        ("3.5 m", "3.5 m"),
        ("U.S.A.", "usa"),
        ("dont know", "don't know"),
        ("red/green", "red green"),
        ("(yes!)", "yes"),
        ("  an   apple ", "apple"),
        ("the", ""),
    ],
)
def test_answers_are_normalised_as_is_customary(written: str, normal: str) -> None:
    assert normalise_answer(written) == normal


def test_exact_match_asks_any_annotator() -> None:
    assert exact_match("A cat", ["dog", "cat"]) == 1.0
    assert exact_match("cats", ["dog", "cat"]) == 0.0
    assert exact_match("cat", []) == 0.0


@pytest.mark.parametrize(("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_score_of_ten_annotators_leaves_each_out_once(same: int, score: float) -> None:
    answers = ["two"] * same + [f"other {i}" for i in range(10 - same)]
    assert vqa_score("2", answers) == pytest.approx(score)


def test_vqa_score_of_a_single_annotator_is_the_exact_match() -> None:
    assert vqa_score("cat", ["Cat."]) == 1.0
    assert vqa_score("dog", ["Cat."]) == 0.0
    assert vqa_score("dog", []) == 0.0
