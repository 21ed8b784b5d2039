"""MobileNetV2 against the features of the quantized original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flmr.errors import CheckpointError, InvalidInput
from flmr.images import load_image
from flmr.model.flmr import FLMRConfig, FLMRModelForRetrieval, init_mobilenet
from flmr.model.flmr.mobilenet import MobileNetV2, load_mobilenet_v2
from flmr.model.flmr.vision import MobileNetTower
from flmr.model.image_processor import preprocess

WEIGHTS = "data/weights/mobilenet_v2_imagenet_dequant_fp16.npz"


@pytest.fixture
def tower(shared: Path) -> MobileNetTower:
    tower = MobileNetTower(_config().vision_config)
    tower.vision_model = load_mobilenet_v2(shared / WEIGHTS)
    return tower.eval()


def _config() -> FLMRConfig:
    return FLMRConfig(vision_config={"model_type": "flmr_mobilenet_v2"})


def test_pooled_features_of_pictures_are_those_of_the_original(shared: Path, tower: MobileNetTower) -> None:
    folder = shared / "data/public_kb"
    with np.load(folder / "mobilenetv2_pooled_fp16.npz") as file:
        rows = np.arange(0, len(file["files"]), 250)
        expected, names = file["X"][rows].astype(np.float32), file["files"][rows]
    with torch.inference_mode():
        features = tower(preprocess([load_image(folder / str(name)) for name in names], _config()))
    assert features.patches.shape == (len(rows), 49, 1280)
    assert torch.allclose(features.summary, features.patches.mean(1))
    found = features.summary.numpy()
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    # The original computes in 8 bits; 4 pictures gave 0.989 to 0.998 (README of the weights).
    assert cosines.mean() > 0.98 and cosines.min() > 0.96


def test_the_odd_pixel_of_padding_is_at_the_bottom_right() -> None:
    convolution = MobileNetV2().features[0][0]  # 3 x 3, stride 2
    with torch.no_grad():
        convolution.weight.fill_(1.0)
        convolution.bias.zero_()
        found = convolution(torch.ones(1, 3, 4, 4))
    assert found[0, 0].tolist() == [[27, 18], [18, 12]]
    with torch.no_grad():
        assert convolution(torch.ones(1, 3, 5, 5)).shape[-1] == 3


def test_other_weights_are_refused(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_mobilenet_v2(tmp_path / "none.npz")
    with np.load(shared / WEIGHTS) as file:
        arrays = dict(file)
    name = "features.3.conv.2.bias"
    for broken in ({**arrays, name: arrays[name][:3]}, {k: v for k, v in arrays.items() if k != name}):
        np.savez(tmp_path / "broken.npz", **broken)
        with pytest.raises(CheckpointError, match=r"features\.3\.conv\.2\.bias"):
            load_mobilenet_v2(tmp_path / "broken.npz")


def test_a_model_with_mobilenet_encodes_and_survives_a_folder(shared: Path, tmp_path: Path, tiny_parts: Any) -> None:
    from flmr.model.flmr import load_checkpoint, save_checkpoint

    model, *tokenizers = tiny_parts(vision_config={"model_type": "flmr_mobilenet_v2", "image_size": 64})
    init_mobilenet(model, shared / WEIGHTS)
    encoding = tokenizers[0]("name: a", max_length=12)
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        before = model.query(encoding["input_ids"], encoding["attention_mask"], pixels).late_interaction_output
        save_checkpoint(tmp_path, model, *tokenizers)
        again = load_checkpoint(tmp_path)[0]
        after = again.query(encoding["input_ids"], encoding["attention_mask"], pixels).late_interaction_output
    assert before.shape == (1, 12 + 3 + 4, 8) and torch.equal(before, after)
    assert again.config.vision_config.image_size == 64
    eager = FLMRModelForRetrieval.from_pretrained(tmp_path, attn_implementation="eager")
    with pytest.raises(InvalidInput, match="no attentions"):
        eager.query(encoding["input_ids"], encoding["attention_mask"], pixels, output_attentions=True)


def test_mobilenet_weights_are_not_put_into_another_tower(shared: Path, tiny_parts: Any) -> None:
    with pytest.raises(CheckpointError, match="is not MobileNetV2"):
        init_mobilenet(tiny_parts()[0], shared / WEIGHTS)
