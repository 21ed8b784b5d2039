"""Every argument of the published methods is there, in its place, with its default, and does what it says."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import flmr
from flmr import (
    FLMRConfig,
    FLMRContextEncoderTokenizer,
    FLMRModelForRetrieval,
    FLMRQueryEncoderTokenizer,
    FLMRTextConfig,
    FLMRVisionConfig,
)
from flmr.errors import InvalidInput

SIDE = "input_ids attention_mask pixel_values image_features"
CONCAT = "concat_output_from_vision_encoder concat_output_from_text_encoder"
RETURN = "return_dict output_attentions output_hidden_states"
FORWARD = [f"{side}_{name}" for side in ("query", "context") for name in SIDE.split()]
FORWARD += ["use_in_batch_negatives", "in_batch_negatives_from_all_gpus", "num_negative_examples"]
FORWARD += [f"{side}_{name}" for side in ("query", "context") for name in CONCAT.split()]
PLACES = "index_root_path index_experiment_name index_name"
INDEXING = "nbits doc_maxlen overwrite use_gpu indexing_batch_size model_temp_folder nranks"
PUBLISHED: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "query": (FLMRModelForRetrieval.query, f"{SIDE} {CONCAT} {RETURN}", {}),
    "doc": (
        FLMRModelForRetrieval.doc,
        f"{SIDE} {CONCAT} keep_dims return_mask {RETURN}",
        {"keep_dims": True, "return_mask": True},
    ),
    "forward": (
        FLMRModelForRetrieval.forward,
        f"{' '.join(FORWARD)} {RETURN}",
        {"use_in_batch_negatives": True, "in_batch_negatives_from_all_gpus": False, "num_negative_examples": 1},
    ),
    "score": (FLMRModelForRetrieval.score, "Q D_padded D_mask", {}),
    "index_custom_collection": (
        flmr.index_custom_collection,
        f"custom_collection model {PLACES} {INDEXING}",
        {"nbits": 8, "doc_maxlen": 512, "overwrite": False, "use_gpu": True, "indexing_batch_size": 64, "nranks": 1},
    ),
    "create_searcher": (flmr.create_searcher, f"{PLACES} use_gpu nbits", {"nbits": 8, "index_root_path": "."}),
    "search_custom_collection": (
        flmr.search_custom_collection,
        "searcher queries query_embeddings num_document_to_retrieve remove_zero_tensors centroid_search_batch_size",
        {"num_document_to_retrieve": 100, "remove_zero_tensors": True, "centroid_search_batch_size": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_arguments_stand_in_their_order_with_their_defaults(name: str) -> None:
    function, names, defaults = PUBLISHED[name]
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    own = [p.name for p in found if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert own == names.split()
    taken = {p.name: p.default for p in found}
    assert {key: taken[key] for key in defaults} == defaults


def _inputs(model: Any) -> dict[str, torch.Tensor]:
    queries = model.query_tokenizer(["name: a", "name: the bird"], max_length=12)
    documents = model.context_tokenizer(["a", "the bird", "toy", "red"], max_length=12)
    return {
        "query_input_ids": queries["input_ids"],
        "query_attention_mask": queries["attention_mask"],
        "context_input_ids": documents["input_ids"],
        "context_attention_mask": documents["attention_mask"],
    }


def _pixels(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))


def test_training_takes_features_of_both_sides_in_the_place_of_pixels(tiny_parts: Any) -> None:
    model, *_ = tiny_parts(context_concat_output_from_vision_encoder=True)
    asked, shown = _pixels(2), _pixels(4)
    by_pixels = model(**_inputs(model), query_pixel_values=asked, context_pixel_values=shown)
    seen, told = model.query_vision_encoder(asked), model.context_vision_encoder(shown)
    features = {"query_image_features": seen.summary, "query_patch_features": seen.patches}
    by_features = model(**_inputs(model), **features, context_image_features=told.summary)
    assert torch.allclose(by_features.loss, by_pixels.loss, atol=1e-6)
    assert by_pixels.context_late_interaction_output.shape == (4, 3 + 12, 8)
    words = model(
        **_inputs(model),
        query_pixel_values=asked,
        context_pixel_values=shown,
        query_concat_output_from_text_encoder=True,
        query_concat_output_from_vision_encoder=[True, False],
        context_concat_output_from_text_encoder=True,
        context_concat_output_from_vision_encoder=False,
    )
    assert words.context_late_interaction_output.shape == (4, 12, 8) and words.loss != by_pixels.loss


def test_training_without_rows_of_text_on_one_side_uses_the_pictures(tiny_parts: Any) -> None:
    model, *_ = tiny_parts(context_concat_output_from_vision_encoder=True)
    output = model(
        **_inputs(model),
        query_pixel_values=_pixels(2),
        context_pixel_values=_pixels(4),
        query_concat_output_from_text_encoder=False,
        context_concat_output_from_text_encoder=False,
    )
    assert output.query_late_interaction_output.shape == (2, 3 + 4, 8)
    assert output.context_late_interaction_output.shape == (4, 3, 8) and output.loss.isfinite()


def test_states_and_attentions_are_kept_where_they_are_asked_for(tiny_folder: Path) -> None:
    model = FLMRModelForRetrieval.from_pretrained(tiny_folder, attn_implementation="eager")
    inputs, kept = _inputs(model), {"output_attentions": True, "output_hidden_states": True}
    output = model(**inputs, query_pixel_values=_pixels(2), **kept)
    for side in ("query", "context"):
        assert len(output[f"{side}_hidden_states"]) == 2 and len(output[f"{side}_attentions"]) == 1
    assert output.query_attentions[0].shape == (2, 2, 12, 12)
    query = model.query(inputs["query_input_ids"], inputs["query_attention_mask"], _pixels(2), **kept)
    assert query.vision_encoder_attentions[0].shape == (2, 2, 5, 5)
    assert len(query.transformer_mapping_network_hidden_states) == 2
    document = model.doc(inputs["context_input_ids"], inputs["context_attention_mask"], **kept)
    assert torch.equal(document.text_encoder_hidden_states[-1], output.context_hidden_states[-1])
    plain = model(**inputs)
    assert plain.query_attentions is None and plain.query_hidden_states is None


def test_attentions_that_an_implementation_does_not_keep_are_refused(tiny_folder: Path) -> None:
    model = FLMRModelForRetrieval.from_pretrained(tiny_folder, attn_implementation="sdpa")
    try:
        output = model(**_inputs(model), output_attentions=True)
    except InvalidInput as error:
        assert "attn_implementation='eager'" in str(error)
    else:  # a transformers that goes over to eager attention by itself
        assert len(output.query_attentions) == 1


def test_outputs_are_tuples_in_the_published_order(tiny_parts: Any) -> None:
    model, *_ = tiny_parts()
    inputs = _inputs(model)
    named, plain = model(**inputs), model(**inputs, return_dict=False)
    assert all(torch.equal(value, other) for value, other in zip(named.values(), plain, strict=True))
    assert list(named) == ["loss", "scores", "in_batch_negative_loss"] + [
        f"{side}_late_interaction_output" for side in ("query", "context")
    ]
    document = inputs["context_input_ids"], inputs["context_attention_mask"]
    assert len(model.doc(*document, return_dict=False)) == 3
    assert len(model.doc(*document, return_dict=False, return_mask=False)) == 2
    assert model.doc(*document, return_mask=False).context_mask is None


def test_saving_takes_the_published_arguments_and_names_unknown_ones(tiny_parts: Any, tmp_path: Path) -> None:
    model, *_ = tiny_parts()
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other").exists()
    doubled = {name: 2 * tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "doubled", state_dict=doubled, safe_serialization=True)
    again = FLMRModelForRetrieval.from_pretrained(tmp_path, subfolder="doubled")
    weight = "query_text_encoder_linear.weight"
    assert torch.equal(again.state_dict()[weight], doubled[weight])
    with pytest.raises(InvalidInput, match="does not know the argument 'max_shard_siz'"):
        model.save_pretrained(tmp_path / "other", max_shard_siz="1GB")
    with pytest.raises(InvalidInput, match=r"as model\.safetensors only"):
        model.save_pretrained(tmp_path / "other", safe_serialization=False)


def test_a_config_is_made_of_the_configs_of_its_towers() -> None:
    text, vision = FLMRTextConfig(hidden_size=32), FLMRVisionConfig(patch_size=16)
    config = FLMRConfig.from_text_vision_configs(text, vision, dim=64)
    assert (config.text_config.hidden_size, config.vision_config.patch_size, config.dim) == (32, 16, 64)


def test_configs_go_to_files_and_dicts_and_back(tiny_folder: Path, tmp_path: Path) -> None:
    config = FLMRConfig.from_pretrained(tiny_folder)
    config.save_pretrained(tmp_path)
    for again in (FLMRConfig.from_pretrained(tmp_path), FLMRConfig.from_dict(config.to_dict())):
        assert {**again.to_dict(), "_name_or_path": ""} == {**config.to_dict(), "_name_or_path": ""}
    assert FLMRTextConfig.from_pretrained(tiny_folder).to_dict() == config.text_config.to_dict()
    assert FLMRVisionConfig.from_pretrained(tiny_folder).image_size == 16
    text, vision = FLMRTextConfig(hidden_size=24), FLMRVisionConfig(image_size=32)
    made = FLMRConfig(text_config=text, vision_config=vision, load_cpu_extension=True)
    assert (made.text_config.hidden_size, made.vision_config.image_size, made.load_cpu_extension) == (24, 32, True)


def test_the_hub_arguments_are_taken_for_a_local_folder(tiny_folder: Path, tmp_path: Path) -> None:
    hub = {"cache_dir": str(tmp_path), "revision": "main", "token": None, "local_files_only": True}
    model = FLMRModelForRetrieval.from_pretrained(str(tiny_folder), **hub, load_cpu_extension=True)
    FLMRModelForRetrieval.try_load_torch_extensions(use_gpu=False)
    assert model.config.load_cpu_extension is True
    for kind, side in ((FLMRQueryEncoderTokenizer, "query"), (FLMRContextEncoderTokenizer, "context")):
        tokenizer = kind.from_pretrained(str(tiny_folder), subfolder=f"{side}_tokenizer", **hub)
        assert tokenizer.describe() == getattr(model, f"{side}_tokenizer").describe()
