"""Weights on disk: strict in, the published names out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flmr.errors import CheckpointError
from flmr.model.flmr import FLMRModelForRetrieval, load_checkpoint, save_checkpoint
from flmr.model.flmr.checkpoint import BareModel, canonical_state


@pytest.fixture
def copy(golden: Any, tmp_path: Path) -> Any:
    """`copy("preflmr")`: a golden checkpoint that may be broken, and its weights."""

    def make(case: str) -> tuple[Path, dict[str, torch.Tensor]]:
        folder = tmp_path / case
        shutil.copytree(golden(case).folder, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        weights = load_file(folder / "model.safetensors")
        return folder, {name: tensor.clone() for name, tensor in weights.items()}  # older safetensors map the file

    return make


def test_a_missing_weight_is_named(copy: Any) -> None:
    folder, weights = copy("preflmr")
    del weights["query_vision_projection.model.2.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing query_vision_projection\.model\.2\.bias"):
        load_checkpoint(folder)


def test_an_unexpected_weight_is_named(copy: Any) -> None:
    folder, weights = copy("preflmr")
    save_file({**weights, "reranker.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected reranker\.weight"):
        load_checkpoint(folder)


def test_a_weight_of_another_shape_is_named(copy: Any) -> None:
    folder, weights = copy("preflmr")
    weights["query_text_encoder_linear.weight"] = torch.zeros(16, 31)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"query_text_encoder_linear\.weight has shape \[16, 31\], not \[16, 32\]"
    ):
        load_checkpoint(folder)


def test_aliases_that_disagree_are_named(copy: Any) -> None:
    folder, weights = copy("flmr_mlp_all_alias_keys")
    weights["context_text_encoder_linear.weight"] += 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="contradicts the other name"):
        load_checkpoint(folder)


def test_a_missing_side_of_separate_encoders_is_an_error(copy: Any) -> None:
    folder, weights = copy("preflmr")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("context_text")}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing context_text_encoder.* more"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["flmr_mlp", "preflmr"])
def test_every_style_of_names_loads_the_same_weights(copy: Any, name: str) -> None:
    folder, weights = copy(name)
    expected = load_checkpoint(folder)[0].state_dict()
    styles = {
        "clip one level up": [(".vision_model.vision_model.", ".vision_model.")],
        "text_model": [(".bert_model.", ".text_model.")],
        "position_ids saved": [],
    }
    for style, renames in styles.items():
        stored = {}
        for key, tensor in weights.items():
            for old, new in renames:
                key = key.replace(old, new)
            stored[key] = tensor
        if not renames:
            stored["query_text_encoder.bert_model.embeddings.position_ids"] = torch.arange(64)[None]
            stored["query_vision_encoder.vision_model.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
        save_file(stored, folder / "model.safetensors")
        found = load_checkpoint(folder)[0].state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected), style


@pytest.mark.parametrize(
    "case",
    ["flmr_mlp", "flmr_mlp_context_keys", "flmr_mlp_all_alias_keys", "preflmr", "preflmr_long_query", "text_only"],
)
def test_a_saved_checkpoint_holds_the_published_keys_and_loads_bit_equal(
    golden: Any, tmp_path: Path, case: str
) -> None:
    model, *tokenizers = load_checkpoint(golden(case).folder)
    save_checkpoint(tmp_path, model, *tokenizers)

    published = "flmr_mlp" if case.startswith("flmr_mlp") else case
    keys = load_file(golden(published).folder / "model.safetensors")
    assert set(load_file(tmp_path / "model.safetensors")) == set(keys)
    again = load_checkpoint(tmp_path)[0]
    expected = model.state_dict()
    assert set(again.state_dict()) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "flmr"


def test_shards_and_their_index_load_bit_equal(golden: Any, tmp_path: Path) -> None:
    model = FLMRModelForRetrieval.from_pretrained(golden("preflmr").folder)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    again = FLMRModelForRetrieval.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())

    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="which is not beside it"):
        FLMRModelForRetrieval.from_pretrained(tmp_path)


def test_saving_over_another_save_leaves_nothing_of_it_to_be_read(golden: Any, tmp_path: Path) -> None:
    model = FLMRModelForRetrieval.from_pretrained(golden("preflmr").folder)
    (tmp_path / "mine.safetensors").touch()
    for size in ("100KB", None, "200KB", "100KB"):
        with torch.no_grad():
            model.query_text_encoder_linear.weight.add_(1)
        model.save_pretrained(tmp_path, max_shard_size=size)
        again = FLMRModelForRetrieval.from_pretrained(tmp_path).state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items()), size
        index = tmp_path / "model.safetensors.index.json"
        named = set(json.loads(index.read_text())["weight_map"].values()) if size else {"model.safetensors"}
        assert {path.name for path in tmp_path.glob("*.safetensors")} == {*named, "mine.safetensors"}
        assert index.exists() == (size is not None)


def test_a_bin_file_is_read_as_plain_tensors_and_never_run(copy: Any) -> None:
    folder, weights = copy("flmr_mlp")
    expected = load_checkpoint(folder)[0].state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    found = load_checkpoint(folder)[0].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(folder / "ran"),))

    torch.save({**weights, "extra": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_checkpoint(folder)
    assert not (folder / "ran").exists()


def test_truncated_and_absent_weights_are_named(copy: Any) -> None:
    folder, _ = copy("flmr_mlp")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*cannot be read"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_checkpoint(folder)


def test_a_folder_without_tokenizers_is_no_checkpoint(copy: Any) -> None:
    folder, _ = copy("flmr_mlp")
    shutil.rmtree(folder / "query_tokenizer")
    with pytest.raises(CheckpointError, match="no query_tokenizer"):
        load_checkpoint(folder)


def test_a_checkpoint_stored_in_half_precision_loads_in_single(tiny_parts: Any, tmp_path: Path) -> None:
    model, *tokenizers = tiny_parts()
    save_checkpoint(tmp_path, model, *tokenizers, dtype=torch.float16)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    again = load_checkpoint(tmp_path)[0]
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for name, tensor in canonical_state(model, model.config).items():
        assert torch.equal(stored[name], tensor.half())
    assert FLMRModelForRetrieval.from_pretrained(tmp_path, dtype="auto").dtype == torch.float16


def test_weights_may_be_read_by_whoever_may_read_the_config(tiny_parts: Any, tmp_path: Path) -> None:
    model, *tokenizers = tiny_parts()
    save_checkpoint(tmp_path / "saved", model, *tokenizers)
    modes = {(tmp_path / "saved" / name).stat().st_mode for name in ("model.safetensors", "config.json")}
    assert len(modes) == 1


def test_loading_leaves_the_random_state_alone(tiny_folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_checkpoint(tiny_folder)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_of_another_type_is_made_in_it_and_holds_the_stored_weights_rounded(tiny_folder: Path) -> None:
    plain, _, _ = load_checkpoint(tiny_folder)
    half = FLMRModelForRetrieval.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(half.state_dict()[name], tensor.bfloat16() if tensor.is_floating_point() else tensor), name
    with BareModel(torch.bfloat16):
        assert torch.nn.Linear(2, 2).weight.dtype == torch.bfloat16


def test_inside_a_bare_model_only_random_filling_is_left_out() -> None:
    with BareModel():
        assert torch.equal(torch.full((3,), 9.0).normal_(), torch.zeros(3))
        assert torch.equal(torch.nn.init.trunc_normal_(torch.full((3,), 9.0)), torch.zeros(3))
        assert torch.equal(torch.zeros(3).fill_(2.0), torch.full((3,), 2.0))
        assert torch.equal(torch.nn.LayerNorm(4).weight, torch.ones(4))
