"""Training recipes: stages complete each other, unknown keys and impossible settings are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flmr.errors import InvalidRecipe
from flmr.train import load_training_recipe, train
from flmr.train.recipe import Negatives

Write = Callable[..., Path]


def test_stage_overrides_only_its_own_keys(write_recipe: Write) -> None:
    extra = '[[stage]]\nname = "join"\n[[stage]]\nsteps = 5\nlearning_rate_text = 0.0\n'
    join, second = load_training_recipe(write_recipe(extra=extra)).stages()
    assert (join.name, join.steps, join.learning_rate_text) == ("join", 12, 1e-3)
    assert (second.name, second.steps, second.learning_rate_text, second.batch_size) == ("stage 2", 5, 0.0, 8)


def test_negatives_are_read_as_tables(write_recipe: Write) -> None:
    extra = 'negatives = [{ count = 2, same = ["kind"], differ = ["entity"] }]'
    (stage,) = load_training_recipe(write_recipe(extra=extra)).stages()
    assert stage.negatives == (Negatives(2, ("kind",), ("entity",)),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", "did you mean 'batch_size'"),
        ("[augment]", "[augments]", "did you mean 'augment'"),
        ("dim = 16", "dims = 16", "did you mean 'dim'"),
        ("patch_size = 8", "patch_sizes = 8", "did you mean 'patch_size'"),
        ("steps = 12", "steps = 0", "neither steps nor epochs"),
        ("steps = 12", "steps = -1", "steps must be at least 0"),
        ("vocabulary_size = 320", "", "needs start, or text_tower"),
        ('precision = "float32"', 'precision = "float16"', "must be one of 'auto'"),
        ('valid_questions = "questions.jsonl"', "", "evaluate_every needs"),
        ("warmup = 2", "[[stage]]\nwarmpu = 2", "did you mean 'warmup'"),
        ("[augment]", "drop_text = 0.6\ndrop_image = 0.6\n[augment]", "1 together at most"),
        ("evaluate_every = 6", "patience = 2", "patience needs evaluate_every"),
        ("seed = 3", 'seed = 3\ndevice = "abacus"', "device 'abacus' is not known"),
    ],
)
def test_wrong_recipe_is_refused_by_name(world: Path, write_recipe: Write, old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        train(write_recipe((old, new)), out=world / "run", progress=False)
