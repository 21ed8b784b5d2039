"""The published tokenizers, id by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer
from flmr.model.flmr.tokenizers import read_vocab

SIDES = {"query": FLMRQueryEncoderTokenizer, "context": FLMRContextEncoderTokenizer}


def _tokenizer(golden: Any, variant: str, side: str) -> Any:
    return SIDES[side].from_pretrained(golden("tokenizers").folder / variant, subfolder=f"{side}_tokenizer")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", ["plain", "special", "attend"])
def test_ids_and_masks_equal_the_published(golden: Any, variant: str, side: str) -> None:
    case = golden("tokenizers")
    encoding = _tokenizer(golden, variant, side)(case.call["strings"])
    for name, found in encoding.items():
        assert torch.equal(found, case.expected[f"{variant}.{side}_{name}"]), name


def test_an_explicit_length_is_not_capped_by_query_maxlen(golden: Any) -> None:
    case = golden("tokenizers")
    for side, length in (("query", 50), ("context", 16)):
        encoding = _tokenizer(golden, "plain", side)(case.call["strings"], max_length=length)
        for name, found in encoding.items():
            assert torch.equal(found, case.expected[f"plain.{side}_maxlength{length}_{name}"]), name


def test_punctuation_ids_equal_the_published(golden: Any) -> None:
    ids = _tokenizer(golden, "plain", "context").punctuation_ids()
    assert list(ids) == golden("tokenizers").expected["plain.punctuation_skiplist_ids"].tolist()


def test_every_expected_tensor_is_looked_at(golden: Any) -> None:
    names = {name.partition(".")[2] for name in golden("tokenizers").expected}
    checked = {f"{side}_{kind}" for side in SIDES for kind in ("input_ids", "attention_mask")}
    checked |= {f"query_maxlength50_{kind}" for kind in ("input_ids", "attention_mask")}
    checked |= {f"context_maxlength16_{kind}" for kind in ("input_ids", "attention_mask")}
    assert names == checked | {"punctuation_skiplist_ids"}


@pytest.mark.parametrize("case", ["preflmr", "flmr_mlp", "text_only"])
def test_texts_of_a_case_become_its_ids(golden: Any, case: str) -> None:
    published = golden(case)
    for side, strings in (("query", "queries"), ("context", "contexts")):
        tokenizer = SIDES[side].from_pretrained(published.folder / f"{side}_tokenizer")
        found = tokenizer(published.call[strings])
        assert torch.equal(found["input_ids"], published.inputs[f"{side}_input_ids"])
        assert torch.equal(found["attention_mask"], published.inputs[f"{side}_attention_mask"])


@pytest.mark.parametrize("side", SIDES)
def test_a_str_is_one_text(golden: Any, side: str) -> None:
    tokenizer = _tokenizer(golden, "plain", side)
    assert torch.equal(tokenizer("what is that?")["input_ids"], tokenizer(["what is that?"])["input_ids"])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", ["plain", "special", "attend"])
def test_a_saved_folder_has_the_published_files_and_loads_the_same(
    golden: Any, tmp_path: Path, variant: str, side: str
) -> None:
    tokenizer = _tokenizer(golden, variant, side)
    tokenizer.save_pretrained(tmp_path)
    published = golden("tokenizers").folder / variant / f"{side}_tokenizer"
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in published.iterdir()}
    assert (tmp_path / "vocab.txt").read_bytes() == (published / "vocab.txt").read_bytes()

    again = SIDES[side].from_pretrained(tmp_path)
    strings = golden("tokenizers").call["strings"]
    assert torch.equal(again(strings)["input_ids"], tokenizer(strings)["input_ids"])
    assert again.describe() == tokenizer.describe()


def test_added_tokens_survive_a_saved_folder(golden: Any, tmp_path: Path) -> None:
    tokenizer = _tokenizer(golden, "plain", "query")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<BOQ>", "<EOQ>"]})
    tokenizer.save_pretrained(tmp_path)
    again = FLMRQueryEncoderTokenizer.from_pretrained(tmp_path)
    assert again.convert_tokens_to_ids(["<BOQ>", "<EOQ>"]) == [270, 271]
    assert torch.equal(again("<BOQ> a <EOQ>")["input_ids"], tokenizer("<BOQ> a <EOQ>")["input_ids"])


def test_another_call_of_the_base_class_leaves_nothing_behind(golden: Any) -> None:
    tokenizer = _tokenizer(golden, "plain", "query")
    before = tokenizer("what is the capital of that country?")["input_ids"]
    tokenizer.encode("what is the capital?", truncation=True, max_length=4, padding="max_length")
    assert torch.equal(tokenizer("what is the capital of that country?")["input_ids"], before)


def test_spans_point_into_the_text(golden: Any) -> None:
    text = "The Capital, of thE country"
    tokens = _tokenizer(golden, "plain", "query").tokenize_texts([text], 32)[0]
    assert [text[slice(*span)] for span in tokens.spans if span] == ["The", "Capital", ",", "of", "thE", "country"]
    assert tokens.spans[:2] == (None, None) and tokens.spans[-1] is None


def test_a_vocabulary_can_be_given_and_a_file_of_one_too(golden: Any) -> None:
    folder = golden("tokenizers").folder / "plain" / "query_tokenizer"
    by_file = FLMRQueryEncoderTokenizer(folder / "vocab.txt", query_maxlen=12)
    by_dict = FLMRQueryEncoderTokenizer(vocab=read_vocab(folder), query_maxlen=12)
    assert torch.equal(by_file("which bird?")["input_ids"], by_dict("which bird?")["input_ids"])
    assert by_file.decode(by_file("which bird?")["input_ids"][0], skip_special_tokens=True).endswith("which bird?")


@pytest.mark.parametrize("side", SIDES)
def test_arguments_of_transformers_are_done_or_refused(golden: Any, side: str) -> None:
    tokenizer, texts = _tokenizer(golden, "plain", side), ["what is that?", "what"]
    whole = tokenizer(texts)
    same = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt", add_special_tokens=True)
    assert all(torch.equal(same[name], whole[name]) for name in whole)
    longest = tokenizer(texts, padding="longest")
    width = int(whole["attention_mask"].sum(1).max())
    assert all(torch.equal(longest[name], whole[name][:, :width]) for name in whole)
    for wrong in ({"padding": False}, {"truncation": False}, {"max_lenght": 5}, {"add_special_tokens": False}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            tokenizer(texts, **wrong)


def test_what_is_no_text_is_refused(golden: Any) -> None:
    tokenizer = _tokenizer(golden, "plain", "query")
    with pytest.raises(InvalidInput, match="text 1 must be a string, not NoneType"):
        tokenizer(["a", None])
    with pytest.raises(InvalidInput, match="at least 3"):
        tokenizer("a", max_length=2)
    for wrong in (None, 3):
        with pytest.raises(InvalidInput, match="string or a list of strings"):
            tokenizer(wrong)
    with pytest.raises(InvalidInput, match="max_length must be"):
        tokenizer(["a"], ["b"])


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither vocab\.txt nor"):
        FLMRQueryEncoderTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\na\na\n")
    with pytest.raises(CheckpointError, match="a token twice"):
        FLMRQueryEncoderTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(CheckpointError, match=r"lacks .*\[unused0\]"):
        FLMRQueryEncoderTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match="not a JSON object"):
        FLMRQueryEncoderTokenizer.from_pretrained(tmp_path)
