"""Checkpoints of open_clip under their own names, as CLIP in transformers' terms.

Knows open_clip_config.json and open_clip's names of weights; needs no open_clip.  Reads models of two plain
transformers, ViT-B/32 to ViT-bigG/14; what a config asks beyond that is refused by name.

A weight of a layer: `attn.in_proj_weight` holds queries, keys and values one below the other, and projections out of
the towers are stored for multiplication from the right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from flmr.errors import CheckpointError
from flmr.model.clip import Clip, build_clip
from flmr.model.flmr.checkpoint import read_tensors
from flmr.model.flmr.tokenizers import read_json
from flmr.model.image_processor import CLIP_DEVIATION, CLIP_MEAN, Framing

CONFIG = "open_clip_config.json"
FILES = (
    "open_clip_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.bin.index.json",
)
# What a config may ask for; a value of None is read, any other is the only one that is known.
_MODEL: Mapping[str, Any] = {
    "embed_dim": None, "vision_cfg": None, "text_cfg": None, "quick_gelu": None, "custom_text": None,
    "init_logit_scale": None, "output_dict": None, "cast_dtype": None, "nonscalar_logit_scale": False,
}  # fmt: skip
_VISION: Mapping[str, Any] = {
    "image_size": None, "layers": None, "width": None, "head_width": None, "mlp_ratio": None, "patch_size": None,
    "patch_dropout": None, "output_tokens": None, "pool_type": "tok", "attentional_pool": False, "no_ln_pre": False,
    "pos_embed_type": "learnable", "final_ln_after_pool": False,
}  # fmt: skip
_TEXT: Mapping[str, Any] = {
    "context_length": None, "vocab_size": None, "width": None, "heads": None, "layers": None, "mlp_ratio": None,
    "output_tokens": None, "pad_id": None, "embed_cls": False, "no_causal_mask": False, "final_ln_after_pool": False,
    "pool_type": "argmax", "proj_bias": False, "proj_type": "linear",
}  # fmt: skip
_PREPARED: Mapping[str, Any] = {
    "size": None, "mode": "RGB", "mean": None, "std": None, "interpolation": None, "resize_mode": None,
    "fill_color": None,
}  # fmt: skip

_READ = (
    "read are models of two plain transformers, ViT-B/32 to ViT-bigG/14; SigLIP and CLIP also as transformers has them"
)

_LAYER = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)(weight|bias)$")
_IN_LAYER = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_OUTSIDE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}


def load_open_clip(folder: Path) -> Clip:
    """A folder of open_clip, float32 on the CPU, in evaluation mode.  Raises CheckpointError."""
    stored = read_json(folder / CONFIG)
    fields = clip_fields(stored, folder)
    return build_clip(fields, open_clip_tensors(folder), _framing(stored, fields, folder), folder)


def clip_fields(stored: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The config of transformers that says what open_clip_config.json says.  Raises CheckpointError."""
    model = _known(stored.get("model_cfg"), _MODEL, folder, "model_cfg")
    vision = {"head_width": 64, "mlp_ratio": 4.0, **_known(model.get("vision_cfg"), _VISION, folder, "vision_cfg")}
    text = {"context_length": 77, "vocab_size": 49408, "mlp_ratio": 4.0}
    text |= _known(model.get("text_cfg"), _TEXT, folder, "text_cfg")
    if not isinstance(vision.get("layers", 0), int):
        raise CheckpointError(f"{str(folder / CONFIG)!r}: vision_cfg has layers = {vision['layers']}; {_READ}")
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    try:
        return {
            "projection_dim": model["embed_dim"],
            "vision_config": {
                "hidden_size": vision["width"],
                "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": vision["width"] // vision["head_width"],
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "hidden_act": act,
            },
            "text_config": {
                "hidden_size": text["width"],
                "intermediate_size": int(text["width"] * text["mlp_ratio"]),
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "max_position_embeddings": text["context_length"],
                "vocab_size": text["vocab_size"],
                "eos_token_id": text["vocab_size"] - 1,
                "bos_token_id": text["vocab_size"] - 2,
                "hidden_act": act,
            },
        }
    except KeyError as error:
        raise CheckpointError(f"{str(folder / CONFIG)!r} does not say {error}; get the file again") from None
    except TypeError:
        raise CheckpointError(f"{str(folder / CONFIG)!r} describes no plain transformers (sizes are numbers)") from None


def open_clip_tensors(folder: Path) -> Iterator[tuple[str | None, str, torch.Tensor]]:
    """The weights of a folder of open_clip under transformers' names, each with its stored name."""
    for name, tensor in read_tensors(folder, FILES):
        short = name.removeprefix("text.") if name.startswith("text.") else name
        found = _LAYER.match(short)
        if found is None:
            own = _OUTSIDE.get(short, name)
            yield own, name, tensor.T if short in ("visual.proj", "text_projection") else tensor
            continue
        tower = "vision_model" if found[1] else "text_model"
        prefix, part, kind = f"{tower}.encoder.layers.{found[2]}", found[3], found[4]
        if part == "attn.in_proj_":
            for which, rows in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{prefix}.self_attn.{which}_proj.{kind}", name, rows
        else:
            yield f"{prefix}.{_IN_LAYER.get(part, part)}{kind}", name, tensor


def _framing(stored: Mapping[str, Any], fields: Mapping[str, Any], folder: Path) -> Framing:
    prepared = _known(stored.get("preprocess_cfg") or {}, _PREPARED, folder, "preprocess_cfg")
    size = prepared.get("size", fields["vision_config"]["image_size"])
    size = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
    interpolation, resize = prepared.get("interpolation", "bicubic"), prepared.get("resize_mode", "shortest")
    if interpolation not in ("bicubic", "bilinear") or resize not in ("shortest", "squash"):
        raise CheckpointError(
            f"{str(folder / CONFIG)!r}: preprocess_cfg asks for {interpolation!r} and {resize!r}; 'bicubic' or "
            "'bilinear' and 'shortest' or 'squash' are known"
        )
    mean, deviation = prepared.get("mean", CLIP_MEAN), prepared.get("std", CLIP_DEVIATION)
    return Framing(size, tuple(mean), tuple(deviation), interpolation, resize, rounded=True)


def _known(table: Any, known: Mapping[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """A table of which every key can be followed.  Raises CheckpointError naming the first that cannot."""
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{str(folder / CONFIG)!r} holds no table {name}")
    if "init_logit_bias" in table:
        raise CheckpointError(
            f"{str(folder / CONFIG)!r} is of SigLIP; take its checkpoint in transformers' layout (config.json with "
            "model_type 'siglip')"
        )
    for key, value in table.items():
        if value is not None and (key not in known or known[key] not in (None, value)):
            shown = "{...}" if isinstance(value, Mapping) else repr(value)
            raise CheckpointError(f"{str(folder / CONFIG)!r}: {name} has {key} = {shown}; {_READ}")
    return {key: value for key, value in table.items() if value is not None}
