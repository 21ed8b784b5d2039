"""A tiny random checkpoint of open_clip and what open_clip itself makes of texts and pictures, for test_open_clip.py.

    python tests/model/golden/make_open_clip.py     (open_clip_torch 3.3.0, torch 2.13.0, torchvision 0.29.2; a CPU)

Writes open_clip/ beside this file: open_clip_config.json, the weights under open_clip's names, its byte pairs as
vocab.json and merges.txt, texts.json, three pictures, and expected.safetensors with ids, pixels and vectors.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import torch

_SHIM = torch.library.Library("torchvision", "DEF")  # torchvision's operators are not built for a plain CPU torch
for _name in ("nms", "qnms"):
    _SHIM.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from open_clip.model import CLIP  # noqa: E402
from open_clip.tokenizer import SimpleTokenizer  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

TEXTS = [
    "A photo of a red bird",
    "the Café at 42 o'clock!",
    "",
    "a bird and a bird and a bird and a bird and a bird",
    "鳥",
]
MERGES = ["a n", "b i", "bi r", "bir d</w>", "t h", "th e</w>", "r e", "re d</w>", "an d</w>", "p h", "o f</w>", "ph o"]
SIZES = {"wide": (31, 18), "tall": (17, 40), "small": (9, 8)}
CONTEXT = 20


def main() -> None:
    folder = Path(__file__).parent / "open_clip"
    folder.mkdir(exist_ok=True)
    tokenizer = _tokenizer(folder)
    config = {
        "embed_dim": 8,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "mlp_ratio": 2.6,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": len(tokenizer.encoder), "width": 12, "heads": 3, "layers": 2,
        },
    }  # fmt: skip
    prepared = {"size": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic"}
    prepared["resize_mode"] = "shortest"
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": prepared}, indent=2) + "\n"
    )
    torch.manual_seed(3)
    model = CLIP(**config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)  # biases and norms that are not 0 and 1
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / FILE)
    transform = image_transform_v2(PreprocessCfg(**prepared), is_train=False)
    pixels = torch.stack([transform(_picture(folder, name, size)) for name, size in SIZES.items()])
    ids = tokenizer(TEXTS)
    with torch.inference_mode():
        tensors = {
            "ids": ids,
            "pixels": pixels,
            "texts": model.encode_text(ids, normalize=True),
            "images": model.encode_image(pixels, normalize=True),
        }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "expected.safetensors")
    (folder / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


FILE = "open_clip_model.safetensors"


def _tokenizer(folder: Path) -> SimpleTokenizer:
    """open_clip's own, of a dozen byte pairs, and its files in the form that hub repositories have."""
    lines = ['"bpe', *MERGES]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "pairs.txt.gz"
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        tokenizer = SimpleTokenizer(str(path), context_length=CONTEXT)
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}  # as in repositories on the hub
    vocab = {names.get(token, token): number for token, number in tokenizer.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    return tokenizer


def _picture(folder: Path, name: str, size: tuple[int, int]) -> Image.Image:
    grey = Image.linear_gradient("L").resize(size)
    radial = Image.radial_gradient("L").resize(size)
    picture = Image.merge("RGB", [grey, radial, grey.rotate(180)])
    picture.save(folder / f"{name}.png")
    return picture


if __name__ == "__main__":
    main()
