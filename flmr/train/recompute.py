"""Layers that keep only their input for the backward pass and are run again there.

Knows which lists of a model hold the layers of towers.  Knows nothing of steps.
Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """Within, every layer of a text tower, a CLIP tower or the mapping network is run again in the backward pass.

    It drops out the same again.  A layer is an element of a list that is called `layer` or `layers`: those of BERT and
    of CLIP, and our own.  Convolutional towers are left as they are.
    """
    layers: list[Any] = [
        layer
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in ("layer", "layers")
        for layer in part
    ]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again
