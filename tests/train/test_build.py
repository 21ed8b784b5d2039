"""The model that a run starts from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flmr.errors import InvalidRecipe
from flmr.train.build import _text_config
from flmr.train.recipe import ModelRecipe


def test_fields_of_the_recipe_replace_those_of_the_text_tower(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 48, "hidden_act": "relu"}))
    config = _text_config(ModelRecipe(text_tower=str(tmp_path), text_config={"hidden_dropout_prob": 0.0}), None)
    assert (config.hidden_size, config.hidden_act, config.hidden_dropout_prob) == (48, "relu", 0.0)
    with pytest.raises(InvalidRecipe, match="did you mean 'hidden_dropout_prob'"):
        _text_config(ModelRecipe(text_tower=str(tmp_path), text_config={"hidden_dropout": 0.0}), None)
