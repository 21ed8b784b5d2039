"""Checkpoints of open_clip, against what open_clip 3.3.0 itself computed (golden/make_open_clip.py)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flmr import Passage, Query, load_encoder
from flmr.errors import CheckpointError
from flmr.images import load_image
from flmr.model.flmr.new_checkpoint import clip_config_from, init_clip_from
from flmr.model.open_clip import clip_fields, load_open_clip
from flmr.model.single import SingleVectorEncoder

GOLDEN = Path(__file__).parent / "golden" / "open_clip"
TEXTS = json.loads((GOLDEN / "texts.json").read_text(encoding="utf-8"))
PICTURES = [GOLDEN / f"{name}.png" for name in ("wide", "tall", "small")]
EXPECTED = load_file(GOLDEN / "expected.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "open_clip"))


def test_texts_become_the_ids_of_open_clip() -> None:
    clip = load_open_clip(GOLDEN)
    for text, expected in zip(TEXTS, EXPECTED["ids"].tolist(), strict=True):
        ids = clip._ids(text)
        assert ids == expected[: len(ids)] and not any(expected[len(ids) :])


def test_pictures_become_the_pixels_of_open_clip() -> None:
    found = load_open_clip(GOLDEN).framing.pixels([load_image(path) for path in PICTURES])
    apart = (found - EXPECTED["pixels"]).abs()
    assert apart.max() < 1.01 / 255 / 0.2  # Pillow 12 and 13 round a few values otherwise
    assert (apart > 1e-5).float().mean() < 0.01


def test_texts_and_pictures_have_the_vectors_of_open_clip() -> None:
    clip = load_open_clip(GOLDEN)
    images = clip.embed_pixels(EXPECTED["pixels"])
    assert (clip.embed_texts(TEXTS) - EXPECTED["texts"]).abs().max() < 1e-5
    assert (images - EXPECTED["images"]).abs().max() < 1e-5


def test_it_is_loaded_by_its_folder_as_an_encoder() -> None:
    encoder = load_encoder(GOLDEN, device="cpu")
    assert isinstance(encoder, SingleVectorEncoder) and encoder.dim == 8
    queries = encoder.encode_queries([Query(TEXTS[0]), Query(image=PICTURES[0])])
    passages = encoder.encode_passages([Passage("a", TEXTS[0]), Passage("b", "a caption", image=PICTURES[0])])
    expected = torch.stack([EXPECTED["texts"][0], EXPECTED["images"][0]])
    for found in (queries, passages):
        assert found.lengths.tolist() == [1, 1]
        assert (torch.from_numpy(found.vectors) - expected).abs().max() < 1e-5


def test_vit_big_g_is_described_as_preflmr_g_has_it() -> None:
    model = {
        "embed_dim": 1280,
        "vision_cfg": {
            "image_size": 224, "layers": 48, "width": 1664, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 32},
    }  # fmt: skip
    vision = clip_fields({"model_cfg": model}, GOLDEN)["vision_config"]
    assert vision == {
        "hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14, "hidden_act": "gelu",
    }  # fmt: skip


def test_a_vision_tower_starts_from_open_clip(tiny_parts: Any) -> None:
    config = clip_config_from(GOLDEN)
    assert (config.hidden_size, config.image_size, config.hidden_act) == (16, 16, "quick_gelu")
    model, *_ = tiny_parts(vision_config=config)
    init_clip_from(model, GOLDEN)
    clip = load_open_clip(GOLDEN).model
    state = clip.vision_model(EXPECTED["pixels"]).last_hidden_state[:, 0]
    assert torch.allclose(model.query_vision_encoder(EXPECTED["pixels"]).summary, state, atol=1e-5)


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("vision_cfg", {"timm_model_name": "convnext_base"}, "vision_cfg has timm_model_name = 'convnext_base'"),
        ("vision_cfg", {"attentional_pool": True}, "attentional_pool = True"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, r"vision_cfg has layers = \[3, 4, 6, 3\]; read are models of two"),
        ("vision_cfg", {"no_ln_pre": True}, "vision_cfg has no_ln_pre = True"),
        ("vision_cfg", {"width": "wide"}, "no plain transformers"),
        ("text_cfg", {"no_causal_mask": True, "pool_type": "last"}, "text_cfg has no_causal_mask = True; read are"),
        ("text_cfg", {"embed_cls": True}, "text_cfg has embed_cls = True"),
        ("", {"init_logit_bias": -10}, "is of SigLIP; take its checkpoint in transformers' layout"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "text_cfg has hf_model_name = 'roberta-base'"),
        ("text_cfg", {"vocab_size": 300}, "does not fit|has shape"),
        ("", {"multimodal_cfg": {"width": 768}}, r"model_cfg has multimodal_cfg = \{\.\.\.\}; read are models of two"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused_by_name(
    folder: Path, table: str, change: dict[str, Any], said: str
) -> None:
    stored = json.loads((folder / "open_clip_config.json").read_text())
    (stored["model_cfg"][table] if table else stored["model_cfg"]).update(change)
    (folder / "open_clip_config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=said) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("visual.transformer.resblocks.1.attn.in_proj_weight", "missing vision_model.encoder.layers.1.self_attn"),
        ("text_projection", "missing text_projection.weight"),
    ],
)
def test_a_missing_weight_is_named(folder: Path, name: str, said: str) -> None:
    weights = load_file(folder / "open_clip_model.safetensors")
    del weights[name]
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=said):
        load_encoder(folder)


def test_an_extra_weight_is_named(folder: Path) -> None:
    weights = load_file(folder / "open_clip_model.safetensors")
    save_file(
        {**weights, "visual.transformer.resblocks.0.ls_1.gamma": torch.zeros(16)},
        folder / "open_clip_model.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"unexpected visual\.transformer\.resblocks\.0\.ls_1\.gamma"):
        load_encoder(folder)
