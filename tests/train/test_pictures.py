"""Views are fixed by the seed, and a tower cut in two computes what it computes whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flmr.errors import InvalidRecipe
from flmr.model.flmr.config import FLMRMobileNetV2Config
from flmr.model.flmr.vision import MobileNetTower
from flmr.train.augment import augment
from flmr.train.pictures import Picture, Pictures, SplitTower, StoredViews
from flmr.train.recipe import AugmentRecipe

CONFIG = FLMRMobileNetV2Config(image_size=64)
STILL = AugmentRecipe(
    views=1, flip=0, rotate=0, zoom=0, shift=0, brightness=0, contrast=0, saturation=0, hue=0, grayscale=0
)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(paths[-1])
    return Pictures([Picture(path) for path in paths], CONFIG, AugmentRecipe(views=2), seed=1)


@pytest.fixture
def tower() -> MobileNetTower:
    torch.manual_seed(0)
    return MobileNetTower(CONFIG).eval()


def test_a_view_is_the_same_on_every_call_and_differs_from_the_others(pictures: Pictures) -> None:
    one, again = pictures.pixels([0, 1, 0], [1, 1, 2]), pictures.pixels([0], [1])
    assert one.shape == (3, 3, 64, 64) and torch.equal(one[:1], again)
    assert not torch.equal(one[0], one[2]) and not torch.equal(one[0], pictures.pixels([0], [0])[0])


def test_resting_augmentation_changes_nothing() -> None:
    picture = torch.rand(2, 3, 16, 16)
    assert torch.allclose(augment(picture, STILL, torch.Generator()), picture, atol=1e-5)


def test_augmented_pictures_stay_pictures() -> None:
    wild = AugmentRecipe(views=1, rotate=90, zoom=0.5, brightness=1, contrast=1, saturation=1, hue=0.5, noise=0.5)
    varied = augment(torch.rand(4, 3, 16, 16), wild, torch.Generator().manual_seed(0))
    assert varied.min() >= 0 and varied.max() <= 1 and torch.isfinite(varied).all()


def test_a_random_filter_changes_the_colours_and_leaves_every_shape_where_it_is() -> None:
    picture = torch.full((16, 3, 32, 32), 0.9)
    picture[:, :, 10:22, 10:22] = torch.tensor([0.1, 0.3, 0.6])[:, None, None]
    filtered = augment(picture, dataclasses.replace(STILL, filter=1.0), torch.Generator().manual_seed(0))
    inside, outside = filtered[:, :, 12:20, 12:20], filtered[:, :, :8]
    assert torch.allclose(inside, inside[:, :, :1, :1].expand_as(inside), atol=1e-4)
    assert torch.allclose(outside, outside[:, :, :1, :1].expand_as(outside), atol=1e-4)
    darker = (inside.mean((1, 2, 3)) < outside.mean((1, 2, 3))).float().mean()
    assert 0.1 < darker < 0.9, "the square is darker in all pictures, or in none"
    assert filtered.mean((1, 2, 3)).sub(0.5).abs().max() < 0.15


def test_a_filtered_sheet_of_one_colour_stays_one_colour() -> None:
    filtered = augment(torch.full((4, 3, 8, 8), 0.3), dataclasses.replace(STILL, filter=1.0), torch.Generator())
    assert torch.isfinite(filtered).all() and filtered.std(dim=(2, 3)).max() < 1e-4


@pytest.mark.parametrize("moving", [0, 2, 19])
def test_cut_tower_equals_whole_tower(tower: MobileNetTower, pictures: Pictures, moving: int) -> None:
    split = SplitTower(tower, moving)
    pixels = pictures.pixels([0, 1], [0, 1])
    whole = tower(pixels)
    if moving == 19:  # nothing is left to run ahead
        assert not split.runs_ahead
        return
    summary, patches = split.rest(tuple(tensor.clone() for tensor in split.ahead()(pixels)))
    assert torch.allclose(summary, whole.summary, atol=1e-5) and torch.allclose(patches, whole.patches, atol=1e-5)
    assert patches.requires_grad == bool(moving)


def test_more_moving_layers_than_there_are_is_refused(tower: MobileNetTower) -> None:
    with pytest.raises(InvalidRecipe, match="19 layers"):
        SplitTower(tower, 20)


def test_stored_views_are_used_again_until_the_weights_change(
    tower: MobileNetTower, pictures: Pictures, tmp_path: Path
) -> None:
    seen: list[int] = []

    def count(stage: str, done: int, total: int | None = None) -> None:
        seen.append(done)

    split = SplitTower(tower, 0)
    device = torch.device("cpu")
    stored = StoredViews.make(tmp_path / "f", pictures, split, device=device, tick=count)
    summary, patches = stored.take([2], [1], device)
    whole = tower(pictures.pixels([2], [1]))
    assert torch.allclose(summary, whole.summary, rtol=2e-3, atol=1e-4)
    assert torch.allclose(patches, whole.patches, rtol=2e-3, atol=1e-4)
    before = len(seen)
    StoredViews.make(tmp_path / "f", pictures, split, device=device, tick=count)
    assert len(seen) == before
    with torch.no_grad():
        tower.vision_model.features[0][0].weight.add_(0.1)  # type: ignore[index, union-attr, operator]
    StoredViews.make(tmp_path / "f", pictures, SplitTower(tower, 0), device=device, tick=count)
    assert len(seen) > before
