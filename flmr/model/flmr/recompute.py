"""Layers that keep only their input for the backward pass and are run again there (gradient checkpointing).

Knows which lists of a model hold the layers of towers.  Knows nothing of steps.
Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def set_recomputing(model: nn.Module, enable: bool, *, every: int = 1, **arguments: Any) -> None:
    """Run every n-th layer of text towers, CLIP towers and the mapping network again in the backward pass, or none.

    It drops out the same again.  arguments: of torch.utils.checkpoint.checkpoint.  A layer is an element of a list that
    is called `layer` or `layers`: those of BERT and of CLIP, and our own.  Convolutional towers are left as they are.
    """
    run = partial(checkpoint, **{"use_reentrant": False, **arguments})
    for number, layer in enumerate(_layers(model)):
        vars(layer).pop("forward", None)  # the class's own shows again
        if enable and number % every == 0:
            layer.forward = partial(_recomputed, run, layer.forward)


def _layers(model: nn.Module) -> list[Any]:
    return [
        layer
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in ("layer", "layers")
        for layer in part
    ]


def _recomputed(run: Callable[..., Any], forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return run(partial(forward, **kwargs), *args) if torch.is_grad_enabled() else forward(*args, **kwargs)
