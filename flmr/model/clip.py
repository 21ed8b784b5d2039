"""CLIP: a text tower and a vision tower that end in one space, a vector a text and a vector a picture.

Knows folders in the layout of transformers' CLIPModel (config.json, weights, tokenizer.json or vocab.json and
merges.txt, preprocessor_config.json); flmr.model.open_clip brings other folders into this form.  Loading is strict, as
everywhere.  Knows nothing of records.

Shapes: B texts or pictures, L tokens, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch.nn import functional as F  # noqa: N812
from transformers import CLIPConfig, CLIPModel

from flmr.errors import CheckpointError
from flmr.model.flmr.checkpoint import BareModel, digest_of, fill, read_tensors
from flmr.model.flmr.tokenizers import read_json
from flmr.model.image_processor import CLIP_DEVIATION, CLIP_MEAN, Framing

if TYPE_CHECKING:
    from PIL.Image import Image

START, END = "<|startoftext|>", "<|endoftext|>"
# Words, single digits and runs of other signs, as CLIP's byte pairs were learned from them.
_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
TOWER = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
)
_TEXT = (*TOWER, "vocab_size", "max_position_embeddings", "eos_token_id")
_VISION = (*TOWER, "image_size", "patch_size")
_FIRST_EOS = 2  # what CLIP's first configs call the end; the end is then the highest id of a text


@dataclass(frozen=True)
class Clip:
    """Both towers with what they need to read texts and pictures."""

    model: Any
    tokenizer: Tokenizer
    framing: Framing
    kind = "clip"

    @property
    def dim(self) -> int:
        """D."""
        return int(self.model.config.projection_dim)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, D) float32 of length 1; what goes beyond the tower's positions is left out."""
        ids = [self._ids(text) for text in texts]
        longest = max(len(row) for row in ids)
        # The end pads: each position sees only those before it, and the first end is the one that is read.
        ids_BL = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in ids], device=self.model.device)
        pooled = self.model.text_model(input_ids=ids_BL, return_dict=True).pooler_output
        return F.normalize(self.model.text_projection(pooled).float(), dim=-1)

    def embed_images(self, images: Sequence[Image]) -> torch.Tensor:
        """(B, D) float32 of length 1."""
        return self.embed_pixels(self.framing.pixels(images))

    @torch.inference_mode()
    def embed_pixels(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """The same of pictures that are framed already."""
        pixels_B3SS = pixels_B3SS.to(self.model.device)
        pooled = self.model.vision_model(pixel_values=pixels_B3SS, return_dict=True).pooler_output
        return F.normalize(self.model.visual_projection(pooled).float(), dim=-1)

    def fingerprint(self) -> str:
        """sha256 over everything that decides a vector."""
        text, vision = self.model.config.text_config, self.model.config.vision_config
        settings = {
            "text": {name: getattr(text, name) for name in _TEXT},
            "vision": {name: getattr(vision, name) for name in _VISION},
            "framing": asdict(self.framing),
            "vocab": self.tokenizer.get_vocab(),
        }
        state = self.model.state_dict()
        return digest_of(settings, {name: state[name] for name in sorted(state) if name != "logit_scale"})

    def _ids(self, text: str) -> list[int]:
        most = int(self.model.config.text_config.max_position_embeddings)
        pieces = self.tokenizer.encode(text, add_special_tokens=False).ids
        start, end = (int(self.tokenizer.token_to_id(token) or 0) for token in (START, END))
        return [start, *pieces[: most - 2], end]


def load_clip(folder: Path) -> Clip:
    """A folder of transformers' CLIPModel, float32 on the CPU, in evaluation mode.  Raises CheckpointError."""
    fields = read_json(folder / "config.json")
    return build_clip(fields, hf_tensors(folder), read_framing(folder, fields), folder)


def build_clip(
    fields: Mapping[str, Any],
    named: Iterator[tuple[str | None, str, torch.Tensor]],
    framing: Framing,
    folder: Path,
) -> Clip:
    """The model that a config of transformers describes, filled strictly with named weights (see `fill`)."""
    model = build_towers(CLIPConfig, CLIPModel, fields, named, framing, folder)
    return Clip(model, read_tokenizer(folder, model.config.text_config), framing)


def build_towers(
    config_class: Any,
    model_class: Any,
    fields: Mapping[str, Any],
    named: Iterator[tuple[str | None, str, torch.Tensor]],
    framing: Framing,
    folder: Path,
) -> Any:
    """A model of two towers of transformers, filled strictly, in evaluation mode.  Raises CheckpointError."""
    try:
        config = config_class.from_dict(dict(fields))
        with torch.random.fork_rng(devices=[]), BareModel():
            model = model_class(config)
    except Exception as error:  # transformers has errors of its own for a field of a wrong type, by version
        reason, name = str(error).partition("\n")[0], model_class.__name__.removesuffix("Model")
        raise CheckpointError(f"the config of {str(folder)!r} describes no {name} model: {reason}") from None
    size = config.vision_config.image_size
    if framing.size != size:
        raise CheckpointError(
            f"{str(folder)!r}: pictures are prepared as {framing.size} x {framing.size} pixels but the vision tower"
            f" takes {size} x {size}; correct preprocessor_config.json"
        )
    fill(model.state_dict(), named, folder)
    return model.eval()


def hf_tensors(folder: Path) -> Iterator[tuple[str | None, str, torch.Tensor]]:
    """The weights of a folder of transformers, less the buffers that its old versions saved."""
    for name, tensor in read_tensors(folder):
        yield None if name.endswith(".embeddings.position_ids") else name, name, tensor


def read_tokenizer(folder: Path, config: Any) -> Tokenizer:
    """CLIP's byte pairs, from tokenizer.json or from vocab.json and merges.txt, checked against the text tower."""
    try:
        tokenizer = _stored_tokenizer(folder)
    except Exception as error:  # the library raises Exception itself
        raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    highest, ids = max(tokenizer.get_vocab().values()), [tokenizer.token_to_id(token) for token in (START, END)]
    if None in ids or highest >= config.vocab_size or config.eos_token_id not in (_FIRST_EOS, ids[1]):
        raise CheckpointError(
            f"the tokenizer in {str(folder)!r} (ids up to {highest}, {START} {ids[0]}, {END} {ids[1]}) does not fit the"
            f" text tower ({config.vocab_size} ids, end {config.eos_token_id}); take the one of the same checkpoint"
        )
    return tokenizer


def _stored_tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocab.is_file() and merges.is_file()):
        raise CheckpointError("it holds neither tokenizer.json nor vocab.json with merges.txt")
    pairs = models.BPE.from_file(str(vocab), str(merges), unk_token=END, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer


def read_framing(folder: Path, fields: Mapping[str, Any]) -> Framing:
    """What preprocessor_config.json asks for; without one, CLIP's own preparation at the tower's size."""
    path, stored = read_preparation(folder)
    size = side_of(stored.get("crop_size", stored.get("size"))) or int(
        (fields.get("vision_config") or {}).get("image_size", 224)
    )
    steps = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
    resample = stored.get("resample", 3)
    shortest = side_of(stored.get("size", size))
    if resample not in (2, 3) or shortest != size or not all(stored.get(step, True) for step in steps):
        shown = {key: stored[key] for key in (*steps, "size", "crop_size", "resample") if key in stored}
        raise CheckpointError(
            f"{str(path)!r}: {json.dumps(shown)} is not CLIP's preparation (short side scaled bicubic or bilinear, as"
            " long as the crop, normalised)"
        )
    return Framing(
        size,
        tuple(stored.get("image_mean", CLIP_MEAN)),
        tuple(stored.get("image_std", CLIP_DEVIATION)),
        "bicubic" if resample == 3 else "bilinear",
    )


def read_preparation(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that says how pictures are prepared, and what it says: {} where there is none."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (whole := folder / "processor_config.json").is_file():
        return whole, dict(read_json(whole).get("image_processor") or {})
    return path, read_json(path)


def side_of(size: Any) -> int | None:
    """One side of what a preprocessor calls a size: a number, or a table of a square; None for anything else."""
    if isinstance(size, Mapping):
        sides = {size.get(name) for name in ("shortest_edge", "height", "width") if name in size}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None
