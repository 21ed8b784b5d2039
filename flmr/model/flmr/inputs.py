"""What the model's methods are given and asked to keep: which row groups are wanted, which hidden states are kept.

Knows flags, batch sizes and the shapes that images come in.  Knows no parameters.

Shapes: B items, R images an item, M patches an image, V vision width, L positions, H text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from flmr.errors import InvalidInput
from flmr.model.flmr.text import TextTower
from flmr.model.flmr.vision import VisionFeatures

Flags: TypeAlias = "bool | Sequence[bool] | torch.Tensor | None"


def batch_size(*inputs: torch.Tensor | None) -> int:
    """B of the inputs that are given.  Raises InvalidInput where there is none, they disagree, or one is no tensor."""
    for value in inputs:
        if value is not None and not isinstance(value, torch.Tensor):
            raise InvalidInput(
                f"texts and images are given as tensors, not as {type(value).__name__}: make them with the model's "
                "tokenizer and an image processor"
            )
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
    flags: torch.Tensor = torch.as_tensor(asked, dtype=torch.bool).cpu()
    if flags.ndim == 0:
        flags = flags.expand(size)
    if flags.shape != (size,):
        raise InvalidInput(f"a list of flags needs one flag an item, {size}, not {tuple(flags.shape)}")
    if bool(flags.any()) and not present:
        raise InvalidInput(f"rows of {what} are asked for but {what} was not given")
    return flags


@dataclass(frozen=True)
class ImageFeatures:
    """The images of a batch as a tower sees them: summary (B, R, V), patches (B, R, M, V) where they are known."""

    summary: torch.Tensor
    patches: torch.Tensor | None

    def to(self, device: torch.device) -> ImageFeatures:
        """The same on a device."""
        return ImageFeatures(self.summary.to(device), None if self.patches is None else self.patches.to(device))


def given_features(summary: torch.Tensor, patches: torch.Tensor | None, width: int) -> ImageFeatures:
    """Precomputed features: summary (B, V) or (B, R, V), patches (B, M, V) or (B, R, M, V).  Raises InvalidInput."""
    if summary.ndim not in (2, 3) or summary.shape[-1] != width:
        raise InvalidInput(f"image_features must be (B, {width}) or (B, R, {width}), not {tuple(summary.shape)}")
    if patches is not None and (
        patches.ndim != summary.ndim + 1
        or patches.shape[:-2] != summary.shape[:-1]
        or patches.shape[-1] != summary.shape[-1]
    ):
        raise InvalidInput(f"patch_features {tuple(patches.shape)} do not fit image_features {tuple(summary.shape)}")
    if summary.ndim == 2:
        summary, patches = summary[:, None], None if patches is None else patches[:, None]
    return ImageFeatures(summary, patches)


class States:
    """Runs the towers of one call and keeps their hidden states and attentions where asked for."""

    def __init__(self, hidden_states: bool, attentions: bool) -> None:
        self._kept: dict[str, Any] = {}
        self._hidden_states, self._attentions = hidden_states, attentions

    def text(self, tower: TextTower, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The text tower's last hidden state: (B, L, H)."""
        last: torch.Tensor
        last, states, attentions = tower(input_ids, attention_mask, self._hidden_states, self._attentions)
        self._check(attentions)
        self._kept |= {"text_encoder_hidden_states": states, "text_encoder_attentions": attentions}
        return last

    def images(self, tower: torch.nn.Module, pixels: torch.Tensor) -> ImageFeatures:
        """The vision tower's features of (B, 3, S, S) or (B, R, 3, S, S)."""
        if pixels.ndim == 4:
            pixels = pixels[:, None]
        if pixels.ndim != 5:
            raise InvalidInput(f"pixel_values must be (B, 3, S, S) or (B, R, 3, S, S), not {tuple(pixels.shape)}")
        seen: VisionFeatures = tower(pixels.flatten(0, 1), self._hidden_states, self._attentions)
        self._check(seen.attentions)
        self._kept |= {"vision_encoder_hidden_states": seen.hidden_states, "vision_encoder_attentions": seen.attentions}
        items, images = pixels.shape[:2]
        return ImageFeatures(
            seen.summary.reshape(items, images, -1), seen.patches.reshape(items, images, *seen.patches.shape[1:])
        )

    def mapping(self, states: tuple[torch.Tensor, ...]) -> None:
        """Keep the mapping network's states."""
        if self._hidden_states:
            self._kept["transformer_mapping_network_hidden_states"] = states

    def _check(self, attentions: tuple[torch.Tensor, ...] | None) -> None:
        """Raise InvalidInput where attentions are asked for and the tower's implementation keeps none."""
        if self._attentions and not any(attention is not None for attention in attentions or ()):
            raise InvalidInput(
                "attentions are kept by from_pretrained(..., attn_implementation='eager') only; ask that"
            )

    def fields(self) -> dict[str, Any]:
        """What was kept, by output field."""
        return self._kept
