"""Which weights move, and how fast.

Knows the names of FLMR's weights by group and the learning-rate schedule as a pure function of the step.  Knows no
data.
"""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from flmr.errors import InvalidRecipe
from flmr.train.recipe import TrainRecipe

GROUPS = {
    "text": re.compile(r"^(query|context)_text_encoder\."),
    "vision": re.compile(r"^(query|context)_vision_encoder\."),
    "linear": re.compile(r"^(query|context)_text_encoder_linear\."),
    "mapping": re.compile(r"^((query|context)_vision_projection|transformer_mapping_\w+)\."),
}
LAYER = re.compile(r"\.(?:layer|layers|features|blocks)\.(\d+)\.")


def group_of(name: str) -> str:
    """The learning-rate group of a weight: text, vision, linear or mapping.  Raises KeyError for any other name."""
    for group, pattern in GROUPS.items():
        if pattern.match(name):
            return group
    raise KeyError(name)


def moving_parameters(
    model: nn.Module, recipe: TrainRecipe, *, resting: str = "(?!)"
) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """The weights that a stage moves, by group; sets requires_grad on them and clears it on all others.

    resting: a pattern of names that do not move whatever their group's learning rate.
    """
    moving: dict[str, list[tuple[str, nn.Parameter]]] = {group: [] for group in GROUPS}
    named = list(model.named_parameters())
    last = {group: _last_layer(named, group) for group in ("text", "vision")}
    depth = {"text": recipe.text_layers, "vision": recipe.vision_layers}
    for name, parameter in named:
        group = group_of(name)
        moves = learning_rate(recipe, group) > 0 and not re.match(resting, name)
        if moves and group in depth and depth[group]:
            layer = LAYER.search(name)
            moves = layer is not None and int(layer.group(1)) > last[group] - depth[group]
        parameter.requires_grad_(moves)
        if moves:
            moving[group].append((name, parameter))
    return moving


def make_optimizer(moving: dict[str, list[tuple[str, nn.Parameter]]], recipe: TrainRecipe) -> torch.optim.AdamW:
    """AdamW with one parameter group per learning rate and decay; vectors (biases, norms) are not decayed.

    Raises InvalidRecipe where no weight moves.
    """
    if not any(moving.values()):
        raise InvalidRecipe(f"stage {recipe.name!r} moves no weight; give a learning rate above 0")
    groups = []
    for group, named in moving.items():
        for decayed in (True, False):
            parameters = [p for _, p in named if (p.ndim > 1) == decayed]
            if parameters:
                decay = recipe.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "group": group, "weight_decay": decay})
    # eps 1e-8 is torch's default and the published setting; foreach and fused are left off: one order of operations
    # on every machine
    return torch.optim.AdamW(groups, lr=0.0, eps=1e-8, foreach=False, fused=False)


def set_learning_rates(optimizer: torch.optim.Optimizer, recipe: TrainRecipe, step: int, steps: int) -> float:
    """Give every parameter group its rate at a step (from 0); returns the highest."""
    factor = schedule(recipe, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = factor * learning_rate(recipe, group["group"])
    return max(float(group["lr"]) for group in optimizer.param_groups)


def schedule(recipe: TrainRecipe, step: int, steps: int) -> float:
    """The share of the learning rate at a step (from 0): a linear rise over `warmup` steps, then the schedule."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    if recipe.schedule == "linear":
        return 1.0 - done
    if recipe.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def learning_rate(recipe: TrainRecipe, group: str) -> float:
    """The stage's learning rate of a group."""
    rates = {
        "text": recipe.learning_rate_text,
        "vision": recipe.learning_rate_vision,
        "linear": recipe.learning_rate_linear,
        "mapping": recipe.learning_rate_mapping,
        "reader": recipe.learning_rate_reader,
    }
    return rates[group]


def _last_layer(named: list[tuple[str, nn.Parameter]], group: str) -> int:
    numbers = [int(m.group(1)) for name, _ in named if GROUPS[group].match(name) and (m := LAYER.search(name))]
    return max(numbers, default=0)
