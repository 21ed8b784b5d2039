"""Pixels as the published preprocessing makes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from flmr.errors import InvalidInput
from flmr.model.flmr import FLMRConfig
from flmr.model.image_processor import patch_regions, preprocess


def _picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(300, 500), (333, 224), (224, 224), (100, 61), (1000, 37)])
def test_pixels_equal_those_of_transformers(size: tuple[int, int]) -> None:
    published = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    expected = published()([_picture(*size)], return_tensors="np")["pixel_values"]
    found = preprocess([_picture(*size)], FLMRConfig())
    assert found.shape == (1, 3, 224, 224) and found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_mobilenet_squashes_to_minus_one_to_one() -> None:
    config = FLMRConfig(vision_config={"model_type": "flmr_mobilenet_v2"})
    image = Image.new("RGB", (50, 90), (255, 0, 0))
    found = preprocess([image, image], config)
    assert found.shape == (2, 3, 224, 224)
    assert torch.equal(found[1], torch.tensor([1.0, -1, -1])[:, None, None].expand(3, 224, 224))


def test_regions_tile_the_part_that_is_seen() -> None:
    regions = patch_regions((400, 200), FLMRConfig())
    assert len(regions) == 49
    assert (regions[0].left, regions[-1].right) == (0.25, 0.75) and (regions[0].top, regions[-1].bottom) == (0, 1)
    squashed = patch_regions((400, 200), FLMRConfig(vision_config={"model_type": "flmr_mobilenet_v2"}))
    assert len(squashed) == 49 and (squashed[0].left, squashed[-1].right) == (0, 1)
    assert all(a.right == b.left for a, b in pairwise(squashed[:7]))


def test_what_is_no_rgb_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="image 1 is not an RGB picture"):
        preprocess([_picture(8, 8), Image.new("L", (8, 8))], FLMRConfig())


def test_no_pictures_are_no_pixels() -> None:
    assert preprocess([], FLMRConfig()).shape == (0, 3, 224, 224)
