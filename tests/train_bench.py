"""A training step in a test: `with bench(recipe, folder) as it: it.step()` gives the loss and every gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from training_runs import silent

from flmr.train import load_training_recipe
from flmr.train.build import sees_passages, start_model
from flmr.train.contrastive import StepResult, contrastive_step
from flmr.train.dataset import load_data
from flmr.train.optimizer import moving_parameters
from flmr.train.ranks import Ranks
from flmr.train.recipe import TrainRecipe
from flmr.train.stage import ReadyStage, prepare, ready_stage

ALONE = Ranks(torch.device("cpu"))


class Bench:
    """A model and a stage, ready for one step at a time."""

    def __init__(self, model: Any, ready: ReadyStage, stage: TrainRecipe) -> None:
        self.model, self.ready, self.stage = model, ready, stage

    def step(self, **keys: Any) -> tuple[StepResult, dict[str, torch.Tensor]]:
        """One step on the first batch, training mode, one seed: the result and every gradient."""
        self.ready.set_modes(self.model, training=True)
        self.model.zero_grad(set_to_none=True)
        torch.manual_seed(5)
        batch, views_B = self.ready.deal(0)
        recipe = dataclasses.replace(self.stage, **keys)
        result = contrastive_step(self.ready.queries, self.ready.passages, batch, views_B, recipe, ALONE)
        return result, {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}


@contextmanager
def bench(recipe_path: Path, folder: Path) -> Iterator[Bench]:
    recipe = load_training_recipe(recipe_path)
    (stage,) = recipe.stages()

    data = load_data(
        recipe.data, recipe.evaluate, seed=recipe.seed, tick=silent, passage_pictures=sees_passages(recipe.model)
    )
    model, *tokenizers = start_model(recipe.model, data, seed=recipe.seed)
    prepared = prepare(model, (tokenizers[0], tokenizers[1]), data, recipe)
    moving_parameters(model, stage)
    with ready_stage(prepared, data, stage, recipe, seed=1, folder=folder, tick=silent, ranks=ALONE) as ready:
        yield Bench(model, ready, stage)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():  # sums of float32 in another order; some (keys' biases) are 0 but for that
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=3e-6 * largest, msg=name)
