"""Hard negatives: drawn from the first ranks of a run, never a positive, refused where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_runs import silent

from flmr.errors import InvalidInput, InvalidRecipe
from flmr.evaluate import write_run
from flmr.train.dataset import load_data
from flmr.train.recipe import DataRecipe, EvaluateRecipe, Negatives, TrainingRecipe, load_training_recipe
from flmr.train.sampler import ListSampler, make_batch


@pytest.fixture
def data(tmp_path: Path) -> DataRecipe:
    (tmp_path / "passages.jsonl").write_text("".join(f'{{"id": "p{i}", "text": "word {i}"}}\n' for i in range(6)))
    lines = [f'{{"id": "q{i}", "text": "word {i}?", "positive_ids": ["p{i}"]}}\n' for i in range(3)]
    (tmp_path / "questions.jsonl").write_text("".join(lines))
    return DataRecipe(tmp_path / "passages.jsonl", tmp_path / "questions.jsonl", mined=tmp_path / "mined.trec")


def mine(data: DataRecipe, run: dict[str, list[str]]) -> None:
    assert data.mined is not None
    write_run({q: [(p, float(-rank)) for rank, p in enumerate(ids)] for q, ids in run.items()}, data.mined)


def test_positives_and_unknown_passages_are_left_out_of_the_mined_ranks(data: DataRecipe) -> None:
    mine(data, {"q0": ["p3", "p0", "gone", "p4"], "q1": ["p1"]})
    loaded = load_data(data, EvaluateRecipe(), seed=0, tick=silent)
    assert loaded.mined == ((3, 4), (), ())
    assert loaded.left_out.counts["questions without a mined negative"] == 2


def test_a_run_of_other_questions_is_refused(data: DataRecipe) -> None:
    mine(data, {"other": ["p3"]})
    with pytest.raises(InvalidInput, match=r"mined\.trec.*ranks no known passage"):
        load_data(data, EvaluateRecipe(), seed=0, tick=silent)


def test_mined_negatives_come_from_the_first_ranks_only() -> None:
    sampler = ListSampler([(7, 8, 9, 1, 2), (5,)], 2, ranks=3)
    drawn = [sampler.draw(0, np.random.default_rng(seed)) for seed in range(50)]
    assert all(len(set(rows)) == 2 for rows in drawn)
    assert set().union(*drawn) == {7, 8, 9}
    assert sampler.draw(1, np.random.default_rng(0)) == [5]


def test_mined_negatives_stand_in_the_batch_as_columns() -> None:
    sampler = ListSampler([(2,), (3,)], 1, ranks=5)
    positives = [frozenset({0}), frozenset({1})]
    batch = make_batch(np.array([0, 1]), positives, [], np.random.default_rng(0), [sampler])
    assert batch.passage_rows.tolist() == [0, 1, 2, 3]
    assert batch.labels.tolist() == [0, 1]
    assert not batch.masked.any()


def test_mined_needs_a_run(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[model]\nstart = "x"\n[data]\npassages = "p"\nquestions = "q"\n'
        "[train]\nsteps = 1\nnegatives = [{ count = 1, mined = 10 }]\n"
    )
    with pytest.raises(InvalidRecipe, match=r"need \[data\] mined"):
        load_training_recipe(recipe)
    recipe.write_text(recipe.read_text().replace('"q"\n', '"q"\nmined = "run.trec"\n'))
    assert isinstance(load_training_recipe(recipe), TrainingRecipe)
    with pytest.raises(InvalidRecipe, match="do not go with same or differ"):
        Negatives(count=1, same=("kind",), mined=10)
