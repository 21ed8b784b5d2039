"""Text checkpoints in colbert-ai's layout, read as an FLMR model without a vision tower.

Knows artifact.metadata, colbert-ai's defaults and its names of weights: BERT under `bert.`, the projection
`linear.weight`.  Two markers, [MASK] padding of queries and the punctuation of documents mean the same in both worlds,
so nothing else is needed.  Knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flmr.errors import CheckpointError
from flmr.model.flmr.checkpoint import BareModel, load_weights
from flmr.model.flmr.config import FLMRConfig, FLMRTextConfig
from flmr.model.flmr.folder import check_vocabulary
from flmr.model.flmr.model import FLMRModelForRetrieval
from flmr.model.flmr.tokenizers import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer, read_json

METADATA = "artifact.metadata"
# What colbert-ai takes where its metadata do not say; other keys tell how a checkpoint was trained and indexed.
_DEFAULTS: Mapping[str, Any] = {
    "query_token_id": FLMRQueryEncoderTokenizer.marker,
    "doc_token_id": FLMRContextEncoderTokenizer.marker,
    "dim": 128,
    "similarity": "cosine",
    "query_maxlen": 32,
    "attend_to_mask_tokens": False,
    "doc_maxlen": 220,
    "mask_punctuation": True,
}


def is_colbert(folder: Path) -> bool:
    """Whether a folder is a checkpoint of colbert-ai: it has artifact.metadata, or its config names the class."""
    return (folder / METADATA).is_file() or "HF_ColBERT" in str(read_json(folder / "config.json").get("architectures"))


def load_colbert(
    folder: Path,
) -> tuple[FLMRModelForRetrieval, FLMRQueryEncoderTokenizer, FLMRContextEncoderTokenizer]:
    """The model (float32, evaluation mode, CPU) and its tokenizers, strictly.  Raises CheckpointError."""
    settings = _settings(folder)
    config = FLMRConfig(
        text_config=_text_config(folder).to_dict(),
        dim=settings["dim"],
        mask_punctuation=settings["mask_punctuation"],
        use_vision_encoder=False,
    )
    query_tokenizer = FLMRQueryEncoderTokenizer.from_pretrained(
        folder, query_maxlen=settings["query_maxlen"], attend_to_mask_tokens=settings["attend_to_mask_tokens"]
    )
    context_tokenizer = FLMRContextEncoderTokenizer.from_pretrained(folder, doc_maxlen=settings["doc_maxlen"])
    check_vocabulary(query_tokenizer, config, f"the tokenizer in {str(folder)!r}")
    with torch.random.fork_rng(devices=[]), BareModel():
        model = FLMRModelForRetrieval(config, query_tokenizer, context_tokenizer)
    load_weights(model, config, folder, rename=_own_name)
    return model.eval(), query_tokenizer, context_tokenizer


def _own_name(name: str) -> str:
    if name.startswith("bert."):
        return f"query_text_encoder.bert_model.{name.removeprefix('bert.')}"
    return "query_text_encoder_linear.weight" if name == "linear.weight" else name


def _settings(folder: Path) -> dict[str, Any]:
    """colbert-ai's settings, checked.  Raises CheckpointError naming the key."""
    stored = read_json(folder / METADATA) if (folder / METADATA).is_file() else {}
    settings = {key: stored.get(key, default) for key, default in _DEFAULTS.items()}
    for key, default in _DEFAULTS.items():
        value = settings[key]
        if type(value) is not type(default) or (isinstance(value, int) and not isinstance(value, bool) and value < 1):
            raise CheckpointError(f"{str(folder / METADATA)!r}: {key} cannot be {value!r}; colbert-ai has {default!r}")
    for key in ("query_token_id", "doc_token_id"):
        if settings[key] != _DEFAULTS[key]:
            raise CheckpointError(
                f"{str(folder / METADATA)!r}: {key} is {settings[key]!r}; only the marker {_DEFAULTS[key]!r} is known"
            )
    # Rows have length 1, so squared distances rank as cosines do, each query row being 2 off.
    if settings["similarity"] not in ("cosine", "l2"):
        raise CheckpointError(
            f"{str(folder / METADATA)!r}: similarity is {settings['similarity']!r}; 'cosine' and 'l2' are known"
        )
    return settings


def _text_config(folder: Path) -> FLMRTextConfig:
    fields = read_json(folder / "config.json")
    if fields.get("model_type") != "bert":
        raise CheckpointError(
            f"{str(folder)!r} is a ColBERT checkpoint over a {fields.get('model_type')!r} model; only BERT is read"
        )
    known = vars(FLMRTextConfig()).keys() - {"text_encoder_base_model", "projection_dim", "query_maxlen"}
    return FLMRTextConfig(**{key: value for key, value in fields.items() if key in known and not key.startswith("_")})
