"""Variations of training pictures: flips, small rotations, crops, colour changes, noise, random filters.

Knows RGB tensors with values 0 to 1; knows nothing of encoders, which normalise afterwards.

Shapes: B pictures, 3 colours, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from flmr.train.recipe import AugmentRecipe

LUMA = (0.299, 0.587, 0.114)  # Rec. 601 weights of red, green and blue
ASPECT = 0.1  # height against width changes by at most this share
FILTERED_MEAN, FILTERED_SPREAD = 0.5, 0.22  # a filtered picture's own; two spreads to either side are kept unclipped
FLAT = 1e-3  # a filtered picture that varies less is one colour, and is not stretched


def augment(pictures_B3HW: Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> Tensor:
    """One random variation of each picture, same shape; what a picture is moved away from is filled by its border."""
    moved_B3HW = _move(pictures_B3HW, recipe, generator)
    varied_B3HW = _recolour(moved_B3HW, recipe, generator)
    if recipe.filter:
        varied_B3HW = _filter(varied_B3HW, recipe.filter, generator)
    return varied_B3HW.clamp(0.0, 1.0)


def _move(pictures_B3HW: Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> Tensor:
    B = len(pictures_B3HW)

    def spread(limit: float) -> Tensor:
        return (2.0 * torch.rand(B, generator=generator) - 1.0) * limit

    angle_B = spread(math.radians(recipe.rotate))
    zoom_B = 1.0 + spread(recipe.zoom)
    aspect_B = 1.0 + spread(ASPECT if recipe.zoom else 0.0)
    side_B = torch.where(torch.rand(B, generator=generator) < recipe.flip, -1.0, 1.0)
    right_B, down_B = spread(2.0 * recipe.shift), spread(2.0 * recipe.shift)  # affine_grid's side is 2 long
    cos_B, sin_B = angle_B.cos() / zoom_B, angle_B.sin() / zoom_B
    affine_B23 = torch.stack(
        [
            torch.stack([cos_B * side_B, -sin_B, right_B], dim=1),
            torch.stack([sin_B * side_B, cos_B * aspect_B, down_B], dim=1),
        ],
        dim=1,
    )
    grid_BHW2 = F.affine_grid(affine_B23, list(pictures_B3HW.shape), align_corners=False)
    return F.grid_sample(pictures_B3HW, grid_BHW2, "bicubic", padding_mode="border", align_corners=False)


def _recolour(pictures_B3HW: Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> Tensor:
    B = len(pictures_B3HW)

    def spread(limit: float) -> Tensor:
        return (2.0 * torch.rand(B, 1, 1, 1, generator=generator) - 1.0) * limit

    grey_B1HW = (pictures_B3HW * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    saturation_B = 1.0 + spread(recipe.saturation)
    drained_B = torch.rand(B, 1, 1, 1, generator=generator) < recipe.grayscale
    saturation_B = torch.where(drained_B, torch.zeros_like(saturation_B), saturation_B)
    pictures_B3HW = grey_B1HW + (pictures_B3HW - grey_B1HW) * saturation_B
    hue_B33 = _hue_rotation(spread(2.0 * math.pi * recipe.hue).flatten())
    pictures_B3HW = torch.einsum("bij,bjhw->bihw", hue_B33, pictures_B3HW)
    mean_B = pictures_B3HW.mean(dim=(1, 2, 3), keepdim=True)
    contrast_B, brightness_B = 1.0 + spread(recipe.contrast), spread(recipe.brightness)
    pictures_B3HW = (pictures_B3HW - mean_B) * contrast_B + mean_B + brightness_B
    noise_B3HW = torch.randn(pictures_B3HW.shape, generator=generator) if recipe.noise else None
    return pictures_B3HW if noise_B3HW is None else pictures_B3HW + recipe.noise * noise_B3HW


def _filter(pictures_B3HW: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Some of the pictures through a random filter over colours and neighbours, brought back to one mean and spread.

    Source: random convolutions for generalising to unseen domains (Xu et al., ICLR 2021).
    """
    B, _, H, W = pictures_B3HW.shape
    kernels = torch.randn(3 * B, 3, 3, 3, generator=generator)
    padded = F.pad(pictures_B3HW, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[None]
    filtered_B3HW = F.conv2d(padded, kernels, groups=B)[0].view(B, 3, H, W)
    spread_B = filtered_B3HW.std(dim=(1, 2, 3), keepdim=True).clamp_min(FLAT)
    centred_B3HW = filtered_B3HW - filtered_B3HW.mean(dim=(1, 2, 3), keepdim=True)
    chosen_B = torch.rand(B, 1, 1, 1, generator=generator) < probability
    return torch.where(chosen_B, centred_B3HW / spread_B * FILTERED_SPREAD + FILTERED_MEAN, pictures_B3HW)


def _hue_rotation(angle_B: Tensor) -> Tensor:
    """(B, 3, 3) matrices that turn colours about the grey axis (Rodrigues' formula about (1, 1, 1))."""
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    same_B = cos_B + (1.0 - cos_B) / 3.0
    next_B = (1.0 - cos_B) / 3.0 - math.sqrt(1.0 / 3.0) * sin_B
    last_B = (1.0 - cos_B) / 3.0 + math.sqrt(1.0 / 3.0) * sin_B
    rows = [[same_B, next_B, last_B], [last_B, same_B, next_B], [next_B, last_B, same_B]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
