"""The published model's arguments, and the combinations that the published code lets crash."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr import FLMRConfig, FLMRModelForRetrieval, FLMRQueryEncoderTokenizer, save_checkpoint


def _inputs(parts: Any, *texts: str) -> dict[str, torch.Tensor]:
    encoding = parts[1](list(texts), max_length=12)
    return {"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"]}


def _pixels(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_auto_classes_load_the_published_folder(golden: Any) -> None:
    folder = golden("preflmr").folder
    assert isinstance(AutoConfig.from_pretrained(folder), FLMRConfig)
    model = AutoModel.from_pretrained(folder)
    assert isinstance(model, FLMRModelForRetrieval) and not model.training
    assert isinstance(AutoModel.from_config(AutoConfig.from_pretrained(folder)), FLMRModelForRetrieval)


def test_published_loading_script_runs_unchanged(golden: Any) -> None:
    case = golden("preflmr")
    config = FLMRConfig.from_pretrained(case.folder)
    tokenizer = FLMRQueryEncoderTokenizer.from_pretrained(
        case.folder, text_config=config.text_config, subfolder="query_tokenizer"
    )
    model = FLMRModelForRetrieval.from_pretrained(
        str(case.folder), query_tokenizer=tokenizer, context_tokenizer=None, torch_dtype=torch.float32
    )
    assert model.query_tokenizer is tokenizer and model.context_tokenizer is not None


def test_an_unknown_argument_of_from_pretrained_is_named(golden: Any) -> None:
    with pytest.raises(InvalidInput, match="'query_tokeniser'"):
        FLMRModelForRetrieval.from_pretrained(golden("preflmr").folder, query_tokeniser=None)


def test_a_model_is_put_where_and_stored_as_asked(tiny_folder: Path) -> None:
    load = FLMRModelForRetrieval.from_pretrained
    assert load(tiny_folder, torch_dtype="bfloat16", device_map={"": "cpu"}).dtype == torch.bfloat16
    assert load(tiny_folder, device_map="auto", output_loading_info=True)[1]["missing_keys"] == []
    assert load(tiny_folder, mask_punctuation=False).config.mask_punctuation is False
    with pytest.raises(InvalidInput, match="one device"):
        load(tiny_folder, device_map={"a": "cpu", "b": "cuda"})


def test_a_type_that_no_weight_can_have_is_refused(tiny_folder: Path) -> None:
    for dtype in ("bfloat17", "relu", torch.int8):
        with pytest.raises(InvalidInput, match="dtype must be a floating type"):
            FLMRModelForRetrieval.from_pretrained(tiny_folder, dtype=dtype)


def test_a_tokenizer_that_is_not_the_models_is_refused(tiny_folder: Path, tiny_parts: Any) -> None:
    load = FLMRModelForRetrieval.from_pretrained
    _, query_tokenizer, context_tokenizer = tiny_parts()
    with pytest.raises(
        InvalidInput, match=r"query_tokenizer must be a flmr\.FLMRQueryEncoderTokenizer, not FLMRContext"
    ):
        load(tiny_folder, query_tokenizer=context_tokenizer)
    pieces = dict(query_tokenizer.word_pieces())
    other = FLMRQueryEncoderTokenizer(vocab={**pieces, "another": len(pieces)})
    with pytest.raises(InvalidInput, match=f"has {len(pieces) + 1} word pieces, which are not those"):
        load(tiny_folder, query_tokenizer=other)
    with pytest.raises(InvalidInput, match="argument 'tokenizer'"):
        load(tiny_folder, tokenizer=query_tokenizer)
    for name in ("query_tokenizer", "context_tokenizer"):
        shutil.rmtree(tiny_folder / name)
    with pytest.raises(CheckpointError, match=f"{len(pieces) + 1} word pieces but the text tower knows {len(pieces)}"):
        load(tiny_folder, query_tokenizer=other)
    assert load(tiny_folder, query_tokenizer=query_tokenizer).query_tokenizer is query_tokenizer


def test_a_token_that_the_text_tower_does_not_know_is_refused(tiny_parts: Any) -> None:
    model, query_tokenizer, _ = tiny_parts()
    ids = query_tokenizer("name: a")["input_ids"]
    ids[0, 2] = 5000
    with pytest.raises(InvalidInput, match="token id 5000 given, the text tower knows"):
        model.query(ids, torch.ones_like(ids))


def test_a_model_in_half_precision_encodes_both_sides(tiny_folder: Path) -> None:
    model = FLMRModelForRetrieval.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    plain = FLMRModelForRetrieval.from_pretrained(tiny_folder)
    parts = (model, model.query_tokenizer, model.context_tokenizer)
    inputs = {**_inputs(parts, "name: a", "name: b"), "pixel_values": _pixels(2)}
    for side in ("query", "doc"):
        given = inputs if side == "query" else {k: v for k, v in inputs.items() if k != "pixel_values"}
        rows = getattr(model, side)(**given).late_interaction_output
        assert rows.dtype == torch.bfloat16
        assert (rows.float() - getattr(plain, side)(**given).late_interaction_output).abs().max() < 0.05


def test_a_text_query_needs_no_flag_and_no_image(tiny_parts: Any) -> None:
    parts = tiny_parts()
    inputs = _inputs(parts, "name: the bird")
    asked = parts[0].query(**inputs, concat_output_from_vision_encoder=False)
    found = parts[0].query(**inputs)
    assert found.late_interaction_output.shape == (1, 12, 8)
    assert torch.equal(found.late_interaction_output, asked.late_interaction_output)


def test_an_image_query_without_text_works_where_no_mapping_network_attends_to_it(tiny_parts: Any) -> None:
    model, *_ = tiny_parts(use_transformer_mapping_network=False)
    assert model.query(pixel_values=_pixels(2)).late_interaction_output.shape == (2, 3, 8)
    with pytest.raises(InvalidInput, match="mapping network attends to the text"):
        tiny_parts()[0].query(pixel_values=_pixels(2))


def test_several_images_pass_both_mapping_networks(tiny_parts: Any) -> None:
    parts = tiny_parts()
    rows = parts[0].query(**_inputs(parts, "name: a", "name: b"), pixel_values=_pixels(2, 3)).late_interaction_output
    assert rows.shape == (2, 12 + 3 * 3 + 3 * 4, 8)


def test_precomputed_features_equal_pixels(tiny_parts: Any) -> None:
    parts = tiny_parts()
    inputs, pixels = _inputs(parts, "name: a", "name: b"), _pixels(2)
    seen = parts[0].query_vision_encoder(pixels)
    by_pixels = parts[0].query(**inputs, pixel_values=pixels)
    for features in (
        {"image_features": seen.summary, "patch_features": seen.patches},
        {"image_features": seen.summary[:, None], "patch_features": seen.patches[:, None]},
    ):
        found = parts[0].query(**inputs, **features)
        assert torch.equal(found.late_interaction_output, by_pixels.late_interaction_output)


def test_features_that_cannot_be_used_are_refused(tiny_parts: Any) -> None:
    parts = tiny_parts()
    model, inputs = parts[0], _inputs(parts, "name: a", "name: b")
    summary, patches = torch.zeros(2, 24), torch.zeros(2, 4, 24)
    refused = {
        "needs patch_features": {"image_features": summary},
        r"must be \(B, 24\)": {"image_features": torch.zeros(2, 23)},
        "do not fit": {"image_features": summary, "patch_features": patches[:, None]},
        "not both": {"image_features": summary, "pixel_values": _pixels(2)},
        "batches of": {"pixel_values": _pixels(3)},
        r"takes \(B, 3, 16, 16\)": {"pixel_values": torch.zeros(2, 3, 8, 8)},
        r"\(B, R, 3, S, S\)": {"pixel_values": torch.zeros(2, 3)},
        "an image was not given": {"concat_output_from_vision_encoder": True},
        "one flag an item": {"concat_output_from_text_encoder": [True], "pixel_values": _pixels(2)},
        "switched off": {"concat_output_from_text_encoder": False},
    }
    for message, arguments in refused.items():
        with pytest.raises(InvalidInput, match=message):
            model.query(**inputs, **arguments)


def test_what_is_no_prepared_tensor_is_refused(tiny_parts: Any) -> None:
    parts = tiny_parts()
    model, inputs = parts[0], _inputs(parts, "name: a", "name: b")
    ids = inputs["input_ids"]
    refused: dict[str, dict[str, Any]] = {
        "as tensors, not as list: make them with": {**inputs, "pixel_values": list(_pixels(2))},
        "as tensors, not as str": {"input_ids": "name: a"},
        r"pixel values are torch\.uint8, colours as they are stored": {
            **inputs, "pixel_values": (_pixels(2) * 255).to(torch.uint8)
        },
        r"input ids are torch\.float32; give whole numbers": {**inputs, "input_ids": ids.float()},
    }  # fmt: skip
    for message, arguments in refused.items():
        with pytest.raises(InvalidInput, match=message):
            model.query(**arguments)
    with pytest.raises(InvalidInput, match="not as list"):
        model.doc(ids.tolist(), inputs["attention_mask"].tolist())


def test_texts_and_pictures_of_other_numbers_are_refused_on_both_sides(tiny_parts: Any) -> None:
    parts = tiny_parts(context_concat_output_from_vision_encoder=True)
    inputs = _inputs(parts, "name: a", "name: b")
    for side in (parts[0].query, parts[0].doc):
        with pytest.raises(
            InvalidInput, match=r"^inputs have batches of \[1, 2\]; give input_ids, pixel_values or .*$"
        ):
            side(**inputs, pixel_values=_pixels(1))


def test_tokenizers_whose_folders_changed_places_are_refused(tiny_folder: Path) -> None:
    (tiny_folder / "query_tokenizer").rename(tiny_folder / "other")
    (tiny_folder / "context_tokenizer").rename(tiny_folder / "query_tokenizer")
    (tiny_folder / "other").rename(tiny_folder / "context_tokenizer")
    with pytest.raises(CheckpointError, match="holds a FLMRContextEncoderTokenizer; the two tokenizers' folders have"):
        FLMRModelForRetrieval.from_pretrained(tiny_folder)


def test_one_text_tower_takes_two_tokenizers_of_the_same_words_only(tiny_folder: Path, tiny_parts: Any) -> None:
    words = tiny_folder / "query_tokenizer" / "vocab.txt"
    words.write_text("\n".join(words.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(
        CheckpointError, match=r"context_tokenizer others, \d+, but one text tower reads both; take both"
    ):
        FLMRModelForRetrieval.from_pretrained(tiny_folder)
    save_checkpoint(tiny_folder, *tiny_parts(separate_query_and_context_text_encoder=True))
    words.write_text("\n".join(words.read_text().splitlines()[:-2]) + "\n")
    FLMRModelForRetrieval.from_pretrained(tiny_folder)  # two towers may have learned other words


def test_neither_text_nor_image_is_refused(tiny_parts: Any) -> None:
    with pytest.raises(InvalidInput, match="neither text nor image"):
        tiny_parts()[0].query()
    with pytest.raises(InvalidInput, match="attention mask"):
        tiny_parts()[0].query(torch.ones(1, 4, dtype=torch.long))


def test_an_image_to_a_model_without_vision_is_refused(tiny_parts: Any) -> None:
    parts = tiny_parts(use_vision_encoder=False, use_transformer_mapping_network=False)
    with pytest.raises(InvalidInput, match="no vision tower"):
        parts[0].query(**_inputs(parts, "name: a"), image_features=torch.zeros(1, 24))


def test_a_query_without_instruction_mark_keeps_every_row(tiny_parts: Any) -> None:
    model, tokenizer, _ = tiny_parts()
    ids = tokenizer(["name the bird", "name: the bird"], max_length=12)["input_ids"]
    keep = model.query_mask(ids)
    assert keep[0].all()
    assert keep[1].tolist()[:5] == [True, True, False, False, True]


def test_a_model_that_masks_needs_its_tokenizers(tiny_parts: Any) -> None:
    model, tokenizer, _ = tiny_parts()
    ids = tokenizer("name: a")
    model.query_tokenizer = model.context_tokenizer = None
    with pytest.raises(InvalidInput, match="query_tokenizer"):
        model.query(ids["input_ids"], ids["attention_mask"])
    with pytest.raises(InvalidInput, match="context_tokenizer"):
        model.doc(ids["input_ids"], ids["attention_mask"])


def test_documents_without_punctuation_mask_keep_their_punctuation(tiny_parts: Any) -> None:
    for masks, rows in ((True, 5), (False, 6)):
        model, _, tokenizer = tiny_parts(mask_punctuation=masks)
        encoding = tokenizer("the bird.")
        assert int(model.doc(encoding["input_ids"], encoding["attention_mask"]).context_mask.sum()) == rows


def test_documents_can_be_lists_of_the_rows_that_count(tiny_parts: Any) -> None:
    model, _, tokenizer = tiny_parts()
    encoding = tokenizer(["the bird.", "a"])
    padded = model.doc(encoding["input_ids"], encoding["attention_mask"])
    ragged = model.doc(encoding["input_ids"], encoding["attention_mask"], keep_dims=False).late_interaction_output
    assert [len(rows) for rows in ragged] == [5, 4]
    for rows, item, mask in zip(ragged, padded.late_interaction_output, padded.context_mask, strict=True):
        assert torch.equal(rows, item[mask[:, 0]])


def test_documents_with_and_without_image_share_a_batch(tiny_parts: Any) -> None:
    model, _, tokenizer = tiny_parts(context_concat_output_from_vision_encoder=True)
    encoding = tokenizer(["the bird", "a"])
    output = model.doc(
        encoding["input_ids"], encoding["attention_mask"], _pixels(2), concat_output_from_vision_encoder=[True, False]
    )
    assert output.context_mask[:, :3, 0].tolist() == [[True] * 3, [False] * 3]
    assert output.late_interaction_output[1, :3].abs().max() == 0


def test_outputs_are_tuples_on_request(tiny_parts: Any) -> None:
    parts = tiny_parts()
    output = parts[0].query(**_inputs(parts, "name: a"), return_dict=False)
    assert isinstance(output, tuple) and output[0].shape == (1, 8)


def test_too_long_a_text_is_refused(tiny_parts: Any) -> None:
    model, tokenizer, _ = tiny_parts()
    encoding = tokenizer("name: a", max_length=129)
    with pytest.raises(InvalidInput, match="129 tokens given, the text tower takes 128"):
        model.query(encoding["input_ids"], encoding["attention_mask"])


def test_the_mapping_network_is_never_causal(tiny_parts: Any) -> None:
    model, *_ = tiny_parts()
    patches = torch.rand(1, 4, 16, generator=torch.Generator().manual_seed(1))
    text, visible = torch.rand(1, 3, 16), torch.ones(1, 3, dtype=torch.bool)
    changed = patches.clone()
    changed[0, 3] += 1
    first, second = (model.transformer_mapping_network(p, text, visible)[0] for p in (patches, changed))
    assert (first[0, 0] - second[0, 0]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transformer_mapping_config_base": None}, "transformer_mapping_config_base is not"),
        ({"transformer_mapping_config_base": "bert-base-uncased"}, "768 wide but the text tower is 16"),
        ({"transformer_mapping_config_base": "no/such"}, "neither built in"),
        ({"use_vision_encoder": False}, "needs use_vision_encoder"),
        ({"text_config": {"text_encoder_base_model": "roberta-base"}}, "roberta-base"),
        ({"vision_config": {"model_type": "resnet"}}, "known vision towers"),
    ],
)
def test_a_config_that_cannot_be_built_is_explained(tiny_parts: Any, changes: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        tiny_parts(**changes)


def test_the_published_mapping_base_is_built_in(tiny_parts: Any) -> None:
    text = {"vocab_size": 300, "num_hidden_layers": 1, "intermediate_size": 64}
    model, *_ = tiny_parts(text_config=text, transformer_mapping_config_base="bert-base-uncased")
    layer = model.transformer_mapping_network.layer[0]
    assert layer.attention.heads == 12
    assert layer.intermediate["dense"].weight.shape == (3072, 768)


def test_training_moves_every_part_but_unused_ones(tiny_parts: Any) -> None:
    model, query_tokenizer, context_tokenizer = tiny_parts()
    queries, documents = query_tokenizer(["name: a", "name: toy"], max_length=12), context_tokenizer(["a", "toy"])
    model.train()
    model(
        queries["input_ids"],
        queries["attention_mask"],
        _pixels(2),
        context_input_ids=documents["input_ids"],
        context_attention_mask=documents["attention_mask"],
        num_negative_examples=0,
    ).loss.backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert all("pooler" in name or "post_layernorm" in name for name in unused)


def test_a_tied_tensor_is_one_parameter(golden: Any) -> None:
    model = FLMRModelForRetrieval.from_pretrained(golden("flmr_mlp").folder)
    assert model.context_text_encoder is model.query_text_encoder
    assert not any(name.startswith("context_") for name, _ in model.named_parameters())


def test_where_to_push_without_pushing_is_refused(tiny_parts: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^repo_id is of an upload; pass push_to_hub=True with it$"):
        tiny_parts()[0].save_pretrained(tmp_path, repo_id="somebody/figures")
