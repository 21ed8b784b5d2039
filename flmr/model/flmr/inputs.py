"""What the model's methods are given and asked to keep: which row groups are wanted, which hidden states are kept.

Knows flags and batch sizes.  Knows no parameters.

Shapes: B items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from flmr.errors import InvalidInput
from flmr.model.flmr.text import TextTower
from flmr.model.flmr.vision import VisionFeatures

Flags: TypeAlias = "bool | Sequence[bool] | torch.Tensor | None"


def batch_size(*inputs: torch.Tensor | None) -> int:
    """B of the inputs that are given.  Raises InvalidInput where there is none or they disagree."""
    sizes = {len(tensor) for tensor in inputs if tensor is not None}
    if len(sizes) != 1:
        found = f"inputs have batches of {sorted(sizes)}" if sizes else "neither text nor image was given"
        raise InvalidInput(f"{found}; give input_ids, pixel_values or image_features of one batch")
    return sizes.pop()


def row_flags(asked: Flags, default: bool, present: bool, size: int, what: str) -> torch.Tensor:
    """Which of B items have a row group: (B,) bool.

    asked: for all, for each, or None for the default where the group's input is present.  Raises InvalidInput where the
    group is asked for and its input is missing.
    """
    if asked is None:
        return torch.full((size,), default and present)
    flags = torch.as_tensor(asked, dtype=torch.bool).cpu()
    flags = flags.expand(size) if flags.ndim == 0 else flags
    if flags.shape != (size,):
        raise InvalidInput(f"a list of flags needs one flag an item, {size}, not {tuple(flags.shape)}")
    if bool(flags.any()) and not present:
        raise InvalidInput(f"rows of {what} are asked for but {what} was not given")
    return flags


class States:
    """Runs the towers of one call and keeps their hidden states and attentions where asked for."""

    def __init__(self, hidden_states: bool, attentions: bool) -> None:
        self._kept: dict[str, Any] = {}
        self._hidden_states, self._attentions = hidden_states, attentions

    def text(self, tower: TextTower, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The text tower's last hidden state: (B, L, H)."""
        last, states, attentions = tower(input_ids, attention_mask, self._hidden_states, self._attentions)
        self._kept |= {"text_encoder_hidden_states": states, "text_encoder_attentions": attentions}
        return last

    def vision(self, tower: torch.nn.Module, pixels: torch.Tensor) -> VisionFeatures:
        """The vision tower's summary and patch features."""
        features: VisionFeatures = tower(pixels, self._hidden_states, self._attentions)
        self._kept |= {
            "vision_encoder_hidden_states": features.hidden_states,
            "vision_encoder_attentions": features.attentions,
        }
        return features

    def mapping(self, states: tuple[torch.Tensor, ...]) -> None:
        """Keep the mapping network's states."""
        if self._hidden_states:
            self._kept["transformer_mapping_network_hidden_states"] = states

    def fields(self) -> dict[str, Any]:
        """What was kept, by output field."""
        return self._kept
