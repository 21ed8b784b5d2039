"""Golden cases of the published implementation, and small models of our own."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flmr.model.flmr import FLMRConfig, build_model, new_tokenizers, save_checkpoint
from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS

WORDS = (
    "a",
    "the",
    "what",
    "which",
    "name",
    "is",
    "of",
    "retrieve",
    "image",
    "this",
    "yo",
    "toy",
    "string",
    "red",
    "bird",
)


@dataclass(frozen=True)
class Golden:
    folder: Path
    call: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    expected: dict[str, torch.Tensor]


@pytest.fixture
def golden(shared: Path) -> Any:
    """`golden("preflmr")`: the folder, the call, the inputs and the expected tensors of a case."""

    def read(case: str) -> Golden:
        folder = shared / "golden" / case
        inputs = folder / "inputs.safetensors"  # the tokenizers' case has texts only
        return Golden(
            folder,
            json.loads((folder / "inputs.json").read_text()),
            load_file(inputs) if inputs.exists() else {},
            load_file(folder / "expected.safetensors"),
        )

    return read


@pytest.fixture(scope="session")
def assert_close() -> Any:
    """The tolerance that the golden cases state: atol 2e-5, rtol 1e-4; masks and ids exact."""

    def check(found: torch.Tensor, expected: torch.Tensor, name: str = "") -> None:
        if expected.is_floating_point():
            torch.testing.assert_close(
                found.detach(), expected, atol=2e-5, rtol=1e-4, msg=lambda text: f"{name}: {text}"
            )
        else:
            assert found.dtype == expected.dtype, name
            assert torch.equal(found, expected), name

    return check


def vocabulary() -> list[str]:
    letters = [*string.ascii_lowercase, *string.digits]
    tokens = [*RESERVED_TOKENS, *string.punctuation, *letters, *(f"##{c}" for c in letters)]
    return [*tokens, *(word for word in WORDS if word not in tokens)]


def tiny_config(**changes: Any) -> FLMRConfig:
    """PreFLMR, 16 wide, with a picture of 16 x 16 in 4 patches."""
    fields: dict[str, Any] = {
        "text_config": {
            "vocab_size": len(vocabulary()), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 128,
        },
        "vision_config": {
            "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 8,
        },
        "dim": 8,
        "mapping_network_prefix_length": 3,
        "use_transformer_mapping_network": True,
        "transformer_mapping_config_base": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
        "transformer_mapping_num_hidden_layers": 1,
        "mask_instruction_token": ":",
    }  # fmt: skip
    return FLMRConfig(**{**fields, **changes})


@pytest.fixture(scope="session")
def tiny_parts() -> Any:
    """`tiny_parts(query_maxlen=100, **changes)`: model and tokenizers of `tiny_config(**changes)`."""

    def make(query_maxlen: int = 100, **changes: Any) -> Any:
        tokenizers = new_tokenizers(vocabulary(), query_maxlen=query_maxlen, doc_maxlen=60)
        return build_model(tiny_config(**changes), *tokenizers, seed=1), *tokenizers

    return make


@pytest.fixture
def tiny_folder(tiny_parts: Any, tmp_path: Path) -> Path:
    """A checkpoint folder of our own."""
    save_checkpoint(tmp_path / "tiny", *tiny_parts())
    return tmp_path / "tiny"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture that is not square."""
    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    image.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"
