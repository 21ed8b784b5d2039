"""A report holds strict and pseudo recall side by side, each with its chance level and number of questions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flmr.errors import InvalidInput
from flmr.evaluate import MeasureRow, evaluate_run

TEXTS = {"a": "red", "b": "blue", "c": "red and blue", "d": "none"}
QRELS = {"q1": {"a": 1}, "q2": {"b": 1, "c": 1}, "q3": {"d": 0}, "q4": {"a": 1}}
RUN = {"q1": [("c", 2.0), ("a", 1.0)], "q2": [("b", 1.0)], "q3": [("a", 1.0)], "stray": [("a", 1.0)]}
ANSWERS = {"q1": ["Red"], "q2": ["green"], "q3": ["red"], "q4": [""]}


def evaluate(**options: Any) -> Any:
    return evaluate_run(RUN, QRELS, ks=(1, 2), **options)


def test_a_report_counts_its_questions() -> None:
    report = evaluate(answers=ANSWERS, passage_text=TEXTS, num_passages=4)
    assert report.num_queries == 4  # q1, q2, q4 by positives, q3 by its answer
    assert report.num_without_positives == 2  # q3 and stray
    assert report.num_missing == 1  # q4
    assert report.num_passages == 4


def test_strict_and_pseudo_recall_stand_side_by_side() -> None:
    report = evaluate(answers=ANSWERS, passage_text=TEXTS, num_passages=4)
    names = [row.measure for row in report.rows]
    assert names == [
        *("strict_recall@1", "strict_recall@2", "pseudo_recall@1", "pseudo_recall@2"),
        *("set_recall@1", "set_recall@2", "MRR@10", "nDCG@10"),
    ]
    assert report.value("strict_recall@1") == pytest.approx(1 / 3)
    assert report.value("strict_recall@2") == pytest.approx(2 / 3)
    assert report.value("pseudo_recall@1") == pytest.approx(2 / 3)
    assert report.value("set_recall@2") == pytest.approx((1 + 0.5 + 0) / 3)
    assert report.value("MRR@10") == pytest.approx((0.5 + 1 + 0) / 3)
    assert {row.num_queries for row in report.rows} == {3}


def test_each_row_has_its_chance_level() -> None:
    rows = {row.measure: row for row in evaluate(answers=ANSWERS, passage_text=TEXTS, num_passages=4).rows}
    assert rows["strict_recall@1"].chance == pytest.approx((1 / 4 + 2 / 4 + 1 / 4) / 3)
    assert rows["pseudo_recall@1"].chance == pytest.approx((2 / 4 + 0 + 2 / 4) / 3)
    assert rows["set_recall@2"].chance == pytest.approx(0.5)
    assert all(row.chance is not None for row in rows.values())


def test_without_the_size_of_the_corpus_the_chance_level_is_unknown() -> None:
    report = evaluate()
    assert all(row.chance is None for row in report.rows)
    assert "unknown" in report.table()


def test_without_all_texts_the_chance_level_of_pseudo_recall_is_unknown() -> None:
    for passage_text in (TEXTS.__getitem__, {"a": "", "b": "", "c": ""}):
        report = evaluate(answers=ANSWERS, passage_text=passage_text, num_passages=4)
        chances = {row.measure: row.chance for row in report.rows}
        assert chances["pseudo_recall@1"] is None and chances["strict_recall@1"] is not None


def test_hit_rates_have_an_interval_that_holds_them() -> None:
    for row in evaluate(answers=ANSWERS, passage_text=TEXTS).rows:
        if "strict" in row.measure or "pseudo" in row.measure:
            assert row.low is not None and row.high is not None and row.low <= row.value <= row.high
        else:
            assert row.low is None


def test_answers_alone_can_be_measured() -> None:
    report = evaluate_run(RUN, {}, ks=[1], answers=ANSWERS, passage_text=TEXTS)
    assert [row.measure for row in report.rows] == ["pseudo_recall@1"]


def test_json_holds_all_of_it() -> None:
    report = evaluate(answers=ANSWERS, passage_text=TEXTS, num_passages=4)
    found = json.loads(report.to_json())
    assert found == report.to_dict()
    assert [MeasureRow(**row) for row in found["rows"]] == list(report.rows)
    assert (found["num_queries"], found["num_missing"], found["num_without_positives"]) == (4, 1, 2)


def test_the_table_says_all_of_it() -> None:
    table = evaluate(answers=ANSWERS, passage_text=TEXTS, num_passages=4).table().splitlines()
    assert table[0].split() == ["measure", "value", "95%", "interval", "chance", "queries"]
    assert table[1].split() == ["strict_recall@1", "0.3333", "0.061", "-", "0.792", "0.3333", "3"]
    assert table[-1].startswith("4 queries over 4 passages; 1 without a hit (counted as misses); 2 without a positive")


def test_rankings_cut_short_are_noted() -> None:
    report = evaluate_run(RUN, QRELS, ks=(1, 5, 100), num_passages=1000)
    assert report.notes == ("no ranking holds more than 2 passages: measures at 5, 100 look no further",)
    assert report.table().endswith(f"note: {report.notes[0]}")
    assert evaluate_run(RUN, QRELS, ks=(1, 2)).notes == ()
    assert evaluate_run({"q": [("a", 1.0)]}, {"q": {"a": 1}}, ks=(5,), num_passages=1).notes == ()


@pytest.mark.parametrize("ks", [(), (0,), (1, -1), (1.5,), (True,), ("5",)])
def test_ks_that_are_no_depths_are_refused(ks: Any) -> None:
    with pytest.raises(InvalidInput, match="ks must be whole numbers of at least 1"):
        evaluate_run(RUN, QRELS, ks=ks)


def test_ks_are_sorted_and_taken_once() -> None:
    assert [r.measure for r in evaluate_run(RUN, QRELS, ks=[2, 1, 2]).rows[:2]] == [
        "strict_recall@1",
        "strict_recall@2",
    ]


def test_answers_without_texts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="give passage_text as well"):
        evaluate(answers=ANSWERS)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no question has a positive passage or an answer"):
        evaluate_run(RUN, {"q1": {"a": 0}})


@pytest.mark.parametrize("run", [{}, {"other": [("a", 1.0)]}])
def test_a_run_of_other_questions_is_refused(run: Any) -> None:
    with pytest.raises(InvalidInput, match="do the ids belong to the same questions"):
        evaluate_run(run, QRELS)


def test_a_run_that_is_not_sorted_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is not best first"):
        evaluate_run({"q1": [("a", 1.0), ("b", 2.0)]}, QRELS)


def test_a_measure_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="'recall' was not measured; there are strict_recall@1"):
        evaluate().value("recall")
