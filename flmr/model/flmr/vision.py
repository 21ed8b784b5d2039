"""The vision seam: any network that gives one summary feature and a grid of patch features of a picture.

Knows CLIP's ViT (published key nesting), MobileNetV2 and a small convolutional network.  Knows nothing of mapping
networks or text.

Shapes: B pictures, N patches, V vision width.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, PretrainedConfig

from flmr.errors import InvalidInput
from flmr.model.flmr.config import FLMRConvConfig, FLMRMobileNetV2Config, own_fields
from flmr.model.flmr.conv import ConvNet
from flmr.model.flmr.mobilenet import MobileNetV2


@dataclass(frozen=True)
class VisionFeatures:
    """summary (B, V) feeds the MLP, patches (B, N, V) feed the transformer mapping; states are kept on request."""

    summary: torch.Tensor
    patches: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ClipTower(nn.Module):
    """CLIP's ViT: the summary is CLS of the last layer, the patches are the input of the last layer, neither normed."""

    def __init__(self, config: PretrainedConfig, attention: str | None = None) -> None:
        super().__init__()
        fields = {name: value for name, value in own_fields(config).items() if name != "model_type"}
        clip = CLIPVisionModel(CLIPVisionConfig(**fields, attn_implementation=attention))
        # Published keys say `vision_model.vision_model.*`; transformers 5 dropped the inner level.
        self.vision_model = nn.ModuleDict({"vision_model": getattr(clip, "vision_model", clip)})
        self.width, self.image_size = config.hidden_size, config.image_size

    def forward(
        self, pixels_B3SS: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> VisionFeatures:
        _check_pixels(pixels_B3SS, self.image_size)
        network: Any = self.vision_model["vision_model"]
        # One state of 25 to 49 is needed: keeping all costs ViT-G 2.6 GB for 32 pictures.
        with _input_of(network.encoder.layers[-1]) as penultimate:
            result = network(
                pixel_values=pixels_B3SS,
                output_hidden_states=output_hidden_states,
                output_attentions=output_attentions,
                return_dict=True,
            )
        return VisionFeatures(
            result.last_hidden_state[:, 0],
            penultimate[0][:, 1:],
            tuple(result.hidden_states) if output_hidden_states else None,
            result.attentions if output_attentions else None,
        )


class MobileNetTower(nn.Module):
    """MobileNetV2: the patches are the cells of its last grid, row by row, the summary is their mean."""

    def __init__(self, config: FLMRMobileNetV2Config) -> None:
        super().__init__()
        self.vision_model = MobileNetV2()
        self.width, self.image_size = config.hidden_size, config.image_size

    def forward(
        self, pixels_B3SS: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> VisionFeatures:
        _check_pixels(pixels_B3SS, self.image_size)
        if output_attentions:
            raise InvalidInput("MobileNetV2 has no attentions; leave output_attentions out")
        return _features_of_grid(self.vision_model(pixels_B3SS), output_hidden_states)


class ConvTower(nn.Module):
    """A small convolutional network: patches are the cells of its last grid, row by row, the summary is their mean."""

    def __init__(self, config: FLMRConvConfig) -> None:
        super().__init__()
        self.vision_model = ConvNet(config.widths)
        self.width, self.image_size = config.hidden_size, config.image_size

    def forward(
        self, pixels_B3SS: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> VisionFeatures:
        _check_pixels(pixels_B3SS, self.image_size)
        if output_attentions:
            raise InvalidInput("a convolutional tower has no attentions; leave output_attentions out")
        return _features_of_grid(self.vision_model(pixels_B3SS), output_hidden_states)


def _features_of_grid(grid_BVHW: torch.Tensor, output_hidden_states: bool) -> VisionFeatures:
    patches_BNV = grid_BVHW.flatten(2).transpose(1, 2)
    return VisionFeatures(patches_BNV.mean(1), patches_BNV, (patches_BNV,) if output_hidden_states else None)


def build_vision_tower(config: PretrainedConfig, attention: str | None = None) -> nn.Module:
    """The tower that a vision config asks for; `attention` is transformers' name of the implementation, or None."""
    if isinstance(config, FLMRMobileNetV2Config):
        return MobileNetTower(config)
    if isinstance(config, FLMRConvConfig):
        return ConvTower(config)
    return ClipTower(config, attention)


@contextmanager
def _input_of(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, the first tensor that this thread gives to the layer is kept in the list."""
    kept: list[torch.Tensor] = []
    thread = threading.get_ident()

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == thread:
            kept.append(args[0] if args else kwargs["hidden_states"])

    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield kept
    finally:
        hook.remove()


def _check_pixels(pixels_B3SS: torch.Tensor, size: int) -> None:
    if pixels_B3SS.ndim != 4 or tuple(pixels_B3SS.shape[1:]) != (3, size, size):
        raise InvalidInput(
            f"pixel values have shape {tuple(pixels_B3SS.shape)}; this vision tower takes (B, 3, {size}, {size}), "
            "see flmr.model.image_processor.preprocess"
        )
    if not pixels_B3SS.is_floating_point():
        raise InvalidInput(
            f"pixel values are {pixels_B3SS.dtype}, colours as they are stored; a vision tower takes them scaled and "
            "normalised, see flmr.model.image_processor.preprocess"
        )
