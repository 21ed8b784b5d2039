"""The world of made-up names: every answer stands in one passage, and none that is tested was ever trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.nonce_facts import ARMS, PEOPLE, RECIPE, SHARES, write_world
from flmr.data import read_passages, read_questions
from flmr.recipe import from_table
from flmr.train.recipe import TrainingRecipe


def test_answers_stand_in_one_passage_and_no_split_shares_them(tmp_path: Path) -> None:
    write_world(tmp_path, seed=0)
    texts = {passage.id: passage.full_text for passage in read_passages(tmp_path / "passages.jsonl")}
    assert len(texts) == 136 * len(PEOPLE)
    titles = {passage.id: passage.title for passage in read_passages(tmp_path / "passages.jsonl")}
    names: dict[str, set[str]] = {}
    for split in SHARES:
        questions = list(read_questions(tmp_path / f"questions.{split}.jsonl"))
        assert len(questions) == pytest.approx(SHARES[split] * len(texts), abs=1)
        for question in questions:
            (answer,), (positive,) = question.answers, question.positive_ids
            assert [passage for passage, text in texts.items() if answer in text] == [positive]
            place = positive.split("/")[1]
            asked = question.query.text.replace(titles[positive], "")
            assert PEOPLE[place] in asked and place not in asked
        names[split] = {question.answers[0] for question in questions}
    assert not (names["train"] & names["test"] or names["train"] & names["valid"] or names["valid"] & names["test"])


def test_the_same_seed_writes_the_same_world_and_another_seed_another(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_world(tmp_path / folder, seed)
    one, two, other = ((tmp_path / folder / "questions.test.jsonl").read_bytes() for folder in "abc")
    assert one == two != other


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_recipe_that_differs_from_the_joint_one_as_it_says(arm: str) -> None:
    import tomllib

    text = RECIPE.read_text(encoding="utf-8")
    for old, new in ARMS[arm].items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    recipe = from_table(tomllib.loads(text), TrainingRecipe)
    assert recipe.joint is not None
    assert (recipe.train.learning_rate_text > 0) == (arm == "joint")
    assert (recipe.joint.retrieval == "none") == (arm == "closed-book")
    assert recipe.train.learning_rate_reader > 0
