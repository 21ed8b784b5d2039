"""SigLIP: a text tower and a vision tower that end in one space, each read by a head of its own.

Knows folders in the layout of transformers' SiglipModel, which SigLIP 2 has too at one resolution (config.json,
weights, spiece.model or tokenizer.json, preprocessor_config.json).  Texts are padded to the tower's length, as in
training: the last position is the one that is read, whatever stands there.  Knows nothing of records.

Shapes: B texts or pictures, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F  # noqa: N812
from transformers import AutoTokenizer, SiglipConfig, SiglipModel

from flmr.errors import CheckpointError, MissingExtra
from flmr.model.clip import TOWER, build_towers, hf_tensors, read_preparation, side_of
from flmr.model.flmr.checkpoint import digest_of
from flmr.model.flmr.tokenizers import read_json
from flmr.model.image_processor import Framing

if TYPE_CHECKING:
    from PIL.Image import Image

_HALF = (0.5, 0.5, 0.5)
_TEXT = (*TOWER, "vocab_size", "max_position_embeddings")
_VISION = (*TOWER, "image_size", "patch_size")


@dataclass(frozen=True)
class Siglip:
    """Both towers with what they need to read texts and pictures."""

    model: Any
    tokenizer: Any
    framing: Framing
    kind = "siglip"

    @property
    def dim(self) -> int:
        """D."""
        return int(self.model.config.vision_config.hidden_size)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, D) float32 of length 1; what goes beyond the tower's positions is left out."""
        pooled = self.model.text_model(input_ids=self.ids(texts).to(self.model.device), return_dict=True).pooler_output
        return F.normalize(pooled.float(), dim=-1)

    def embed_images(self, images: Sequence[Image]) -> torch.Tensor:
        """(B, D) float32 of length 1."""
        return self.embed_pixels(self.framing.pixels(images))

    @torch.inference_mode()
    def embed_pixels(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """The same of pictures that are framed already."""
        pooled = self.model.vision_model(pixel_values=pixels_B3SS.to(self.model.device), return_dict=True).pooler_output
        return F.normalize(pooled.float(), dim=-1)

    def fingerprint(self) -> str:
        """sha256 over everything that decides a vector."""
        config, tokenizer = self.model.config, self.tokenizer
        settings = {
            "text": {name: getattr(config.text_config, name) for name in _TEXT},
            "vision": {name: getattr(config.vision_config, name) for name in _VISION},
            "framing": asdict(self.framing),
            "vocab": tokenizer.get_vocab(),
            "tokenizer": [type(tokenizer).__name__, tokenizer.padding_side, tokenizer.pad_token_id],
        }
        state = self.model.state_dict()
        return digest_of(settings, {n: state[n] for n in sorted(state) if n not in ("logit_scale", "logit_bias")})

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Ids of texts in lower case, as both generations were trained: (B, L) of the tower's whole length L."""
        ids: torch.Tensor = self.tokenizer(
            [text.lower() for text in texts],
            padding="max_length",
            truncation=True,
            max_length=int(self.model.config.text_config.max_position_embeddings),
            return_tensors="pt",
        )["input_ids"]
        return ids


def load_siglip(folder: Path) -> Siglip:
    """A folder of transformers' SiglipModel, float32 on the CPU, in evaluation mode.  Raises CheckpointError."""
    fields = read_json(folder / "config.json")
    model = build_towers(SiglipConfig, SiglipModel, fields, hf_tensors(folder), _framing(folder, fields), folder)
    text, vision = model.config.text_config, model.config.vision_config
    width = getattr(text, "projection_size", text.hidden_size)  # both are not of every version of transformers
    if not getattr(vision, "vision_use_head", True) or width != vision.hidden_size:
        raise CheckpointError(
            f"{str(folder)!r}: texts and pictures do not end in one space (widths {width} and {vision.hidden_size}, the"
            " second with a head of its own); take a whole SiglipModel"
        )
    return Siglip(model, _tokenizer(folder, text), _framing(folder, fields))


def _tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of the folder, checked against the text tower."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except ImportError:  # of the first generation: spiece.model
        raise MissingExtra(f"the tokenizer in {str(folder)!r} is SentencePiece's: pip install 'flmr[siglip]'") from None
    except Exception as error:  # it raises what its libraries raise
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be read: {reason}") from None
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size or tokenizer.pad_token_id is None:
        raise CheckpointError(
            f"the tokenizer in {str(folder)!r} (ids up to {highest}, padding {tokenizer.pad_token_id}) does not fit the"
            f" text tower ({config.vocab_size} ids); take the one of the same checkpoint"
        )
    return tokenizer


def _framing(folder: Path, fields: Mapping[str, Any]) -> Framing:
    """What preprocessor_config.json asks for; without one, SigLIP's own preparation at the tower's size."""
    path, stored = read_preparation(folder)
    size = side_of(stored.get("size")) or int((fields.get("vision_config") or {}).get("image_size", 224))
    steps = ("do_resize", "do_rescale", "do_normalize")
    resample = stored.get("resample", 3)
    if resample not in (2, 3) or stored.get("do_center_crop") or not all(stored.get(step, True) for step in steps):
        shown = {key: stored[key] for key in (*steps, "do_center_crop", "size", "resample") if key in stored}
        raise CheckpointError(
            f"{str(path)!r}: {json.dumps(shown)} is not SigLIP's preparation (scaled to a square, bicubic or bilinear, "
            "normalised)"
        )
    mean, deviation = stored.get("image_mean", _HALF), stored.get("image_std", _HALF)
    return Framing(size, tuple(mean), tuple(deviation), "bicubic" if resample == 3 else "bilinear", "squash")
