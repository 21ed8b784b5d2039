"""Batches: every one a function of seed and step, no false negative in any of them."""

from __future__ import annotations

import numpy as np
import pytest

from flmr.errors import InvalidInput
from flmr.records import Passage
from flmr.train.recipe import Negatives
from flmr.train.sampler import NegativeSampler, QuestionSampler, make_batch

PASSAGES = [
    Passage(f"{entity}-{kind}", text="x", meta={"entity": entity, "kind": kind})
    for entity in ("cat", "dog", "cow", "hen")
    for kind in ("use", "origin")
]


def test_every_question_is_dealt_once_an_epoch() -> None:
    sampler = QuestionSampler([""] * 12, batch_size=4, seed=5, weights={})
    dealt = np.concatenate([sampler.rows(step) for step in range(sampler.batches_per_epoch)])
    assert sorted(dealt) == list(range(12))


def test_a_step_deals_the_same_to_a_new_sampler_and_another_epoch_deals_otherwise() -> None:
    one, two = (QuestionSampler([""] * 40, batch_size=8, seed=5, weights={}) for _ in range(2))
    assert all(np.array_equal(one.rows(step), two.rows(step)) for step in (7, 0, 12))
    assert not np.array_equal(one.rows(0), one.rows(one.batches_per_epoch))


def test_a_batch_holds_one_group_and_weights_say_how_often_a_group_comes() -> None:
    groups = ["few"] * 4 + ["many"] * 20
    sampler = QuestionSampler(groups, batch_size=4, seed=0, weights={"few": 3.0, "many": 0.6})
    batches = [{groups[row] for row in sampler.rows(step)} for step in range(sampler.batches_per_epoch)]
    assert all(len(batch) == 1 for batch in batches)
    assert batches.count({"few"}) == 3 and batches.count({"many"}) == 3


def test_a_weight_for_a_group_that_no_question_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="squadd"):
        QuestionSampler(["squad"], batch_size=1, seed=0, weights={"squadd": 2.0})


def test_negatives_share_and_differ_in_what_the_recipe_says() -> None:
    sampler = NegativeSampler(PASSAGES, Negatives(count=2, same=("kind",), differ=("entity",)))
    for seed in range(20):
        rows = sampler.draw(0, frozenset([0, 2]), np.random.default_rng(seed))
        assert len(rows) == 2 and all(PASSAGES[row].meta["kind"] == "use" for row in rows)
        assert not {0, 2} & set(rows)


def test_negatives_that_name_unknown_metadata_are_refused() -> None:
    with pytest.raises(InvalidInput, match="colour"):
        NegativeSampler(PASSAGES, Negatives(count=1, same=("colour",)))


def test_a_passage_that_also_answers_is_masked_and_duplicates_are_merged() -> None:
    positives = [frozenset([0, 1]), frozenset([1]), frozenset([1]), frozenset([4])]
    for seed in range(10):
        batch = make_batch(np.arange(4), positives, [], np.random.default_rng(seed))
        assert len(set(batch.passage_rows)) == len(batch.passage_rows)
        for question, (label, masked) in enumerate(zip(batch.labels, batch.masked, strict=True)):
            assert batch.passage_rows[label] in positives[question]
            others = set(batch.passage_rows[masked])
            assert others == (positives[question] & set(batch.passage_rows)) - {batch.passage_rows[label]}
