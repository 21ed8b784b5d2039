"""Which weights move, at which rate."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from flmr.errors import InvalidRecipe
from flmr.train.optimizer import group_of, make_optimizer, moving_parameters, schedule, set_learning_rates
from flmr.train.recipe import TrainRecipe

BASE = TrainRecipe(steps=10, learning_rate_text=1e-4, learning_rate_mapping=1e-2)


class Skeleton(nn.Module):
    """The names of an FLMR model, and nothing behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.query_text_encoder = nn.ModuleDict({"layer": nn.ModuleList(nn.Linear(2, 2) for _ in range(3))})
        self.query_text_encoder_linear = nn.Linear(2, 2, bias=False)
        self.query_vision_encoder = nn.ModuleDict({"features": nn.ModuleList(nn.Linear(2, 2) for _ in range(3))})
        self.query_vision_projection = nn.Linear(2, 2)
        self.transformer_mapping_input_linear = nn.Linear(2, 2)


def test_every_weight_of_the_published_layout_has_a_group() -> None:
    assert group_of("context_text_encoder.bert_model.pooler.dense.bias") == "text"
    assert group_of("query_text_encoder_linear.weight") == "linear"
    assert group_of("query_vision_encoder.vision_model.features.0.0.weight") == "vision"
    assert group_of("context_vision_projection.model.2.bias") == "mapping"
    assert group_of("transformer_mapping_network.layer.0.output.dense.weight") == "mapping"
    with pytest.raises(KeyError):
        group_of("classifier.weight")


def test_groups_with_rate_zero_are_frozen_and_others_have_their_own_rate() -> None:
    model = Skeleton()
    moving = moving_parameters(model, BASE)
    assert [p.requires_grad for p in model.query_vision_encoder.parameters()] == [False] * 6
    assert not model.query_text_encoder_linear.weight.requires_grad
    optimizer = make_optimizer(moving, BASE)
    highest = set_learning_rates(optimizer, BASE, 0, 10)
    rates = {(group["group"], group["lr"]) for group in optimizer.param_groups}
    assert rates == {("text", 1e-4), ("mapping", 1e-2)} and highest == 1e-2
    assert {group["weight_decay"] for group in optimizer.param_groups if group["params"][0].ndim == 1} == {0.0}


def test_only_the_last_layers_of_a_tower_move_where_the_recipe_says_so() -> None:
    model = Skeleton()
    recipe = dataclasses.replace(BASE, text_layers=1, learning_rate_vision=1e-3, vision_layers=2)
    names = {name for named in moving_parameters(model, recipe).values() for name, _ in named}
    assert {n.rsplit(".", 1)[0] for n in names if "text" in n} == {"query_text_encoder.layer.2"}
    assert {n.split(".")[2] for n in names if "vision_encoder" in n} == {"1", "2"}


def test_stage_that_moves_nothing_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="moves no weight"):
        idle = TrainRecipe(name="idle", steps=1)
        make_optimizer(moving_parameters(Skeleton(), idle), idle)


def test_resting_names_do_not_move_whatever_their_rate() -> None:
    names = {name for named in moving_parameters(Skeleton(), BASE, resting="query_").values() for name, _ in named}
    assert names and not [name for name in names if name.startswith("query_")]


def test_schedule_rises_then_falls_to_zero() -> None:
    linear = dataclasses.replace(BASE, warmup=4)
    assert [schedule(linear, step, 12) for step in (0, 3, 4, 8)] == [0.25, 1.0, 1.0, 0.5]
    cosine = dataclasses.replace(BASE, warmup=0, schedule="cosine")
    assert math.isclose(schedule(cosine, 5, 10), 0.5) and schedule(cosine, 0, 10) == 1.0
    constant = dataclasses.replace(BASE, schedule="constant")
    assert schedule(constant, 9, 10) == 1.0


def test_optimizer_steps_are_the_same_from_a_saved_state() -> None:
    def run(model: Skeleton, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            set_learning_rates(optimizer, BASE, step, 10)
            optimizer.zero_grad()
            sum((p * p).sum() for p in model.parameters() if p.requires_grad).backward()  # type: ignore[union-attr]
            optimizer.step()

    torch.manual_seed(0)
    whole, parts = Skeleton(), Skeleton()
    parts.load_state_dict(whole.state_dict())
    one = make_optimizer(moving_parameters(whole, BASE), BASE)
    run(whole, one, range(6))
    two = make_optimizer(moving_parameters(parts, BASE), BASE)
    run(parts, two, range(3))
    three = make_optimizer(moving_parameters(parts, BASE), BASE)
    three.load_state_dict(two.state_dict())
    run(parts, three, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
