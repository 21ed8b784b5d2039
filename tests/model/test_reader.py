"""Readers of every kind: what they are asked, how probable an answer is, and which answer is chosen."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_reader import word_tokenizer, write_tiny_reader

from flmr.errors import CheckpointError, InvalidInput, MissingExtra, NotAvailable
from flmr.model.reader import Lora, ReaderSettings, TransformersReader, load_reader
from flmr.records import Hit, Passage, Query
from flmr.roles import Reader

TEXTS = ("what is the colour of the rose", "the rose is red", "the sky is blue as the sea", "green")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_reader(tmp_path_factory.mktemp("reader"), TEXTS)


@pytest.fixture
def reader(folder: Path) -> TransformersReader:
    return load_reader(folder, device="cpu")


def test_reader_is_a_reader_and_comes_back_as_it_was_saved(reader: TransformersReader, tmp_path: Path) -> None:
    assert isinstance(reader, Reader) and reader.settings.max_prompt == 48
    reader.save(tmp_path / "again")
    again = load_reader(tmp_path / "again", device="cpu", beams=3)
    assert again.settings == ReaderSettings(max_prompt=48, max_answer=4, beams=3)
    query = [Query("what is the colour of the rose")]
    one, two = (r.read(query, ["the rose is red"], ["red"]) for r in (reader, again))
    assert torch.equal(one.log_p, two.log_p)


def test_log_probability_of_a_target_is_that_of_its_tokens_one_by_one(reader: TransformersReader) -> None:
    queries = [Query("what is the colour of the rose"), Query("the sky")]
    read = reader.read(queries, ["the rose is red", "the sky is blue as the sea"], ["red", "blue as the sea"])
    assert read.mask_NT.sum(1).tolist() == [2, 5]  # with the end of the text
    for i, target in enumerate(("red", "blue as the sea")):
        prompt = reader.prompts(queries[i : i + 1], [("the rose is red", "the sky is blue as the sea")[i]])
        ids = reader.tokenizer(prompt, return_tensors="pt")["input_ids"]
        labels = reader.tokenizer(target)["input_ids"]
        total, said = 0.0, [0]
        for label in labels:
            logits = reader.model(input_ids=ids, decoder_input_ids=torch.tensor([said])).logits[0, -1]
            total += logits.log_softmax(-1)[label].item()
            said.append(label)
        assert read.log_p[i].item() == pytest.approx(total, rel=1e-5)
        assert read.mean_log_p[i].item() == pytest.approx(total / len(labels), rel=1e-5)
        first = reader.model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, -1].argmax().item()
        assert read.first_right_N[i].item() == (first == labels[0])


def test_a_long_passage_is_cut_and_the_rest_of_the_prompt_is_kept(reader: TransformersReader) -> None:
    (prompt,) = reader.prompts([Query("what colour")], ["the rose " * 100])
    assert prompt.endswith("Answer:") and prompt.startswith("Question: what colour")
    assert 40 <= len(reader.tokenizer(prompt)["input_ids"]) <= 48


def test_answer_is_the_one_of_the_best_joint_probability(reader: TransformersReader) -> None:
    texts, scores = ("the rose is red", "the sky is blue as the sea", "green"), (1.0, 2.5, 0.5)
    hits = [Hit(t, s, i, Passage(t, t)) for i, (t, s) in enumerate(zip(texts, scores, strict=True), start=1)]
    query = Query("what is the colour of the rose")
    total = math.log(sum(math.exp(s) for s in scores))
    said = [reader.generate([query], [text])[0] for text in texts]
    joint = [score - total + mean for score, (_, mean) in zip(scores, said, strict=True)]
    best = max(range(3), key=joint.__getitem__)
    answer = reader.answer(query, hits)
    assert answer.text == said[best][0] and answer.log_probability == pytest.approx(joint[best], abs=1e-5)
    assert [hit.id for hit in answer.hits] == [texts[i] for i in sorted(range(3), key=lambda i: -joint[i])]
    both = reader.answers([query, query], [hits, []])
    assert (both[0].text, both[0].hits) == (answer.text, answer.hits)  # padding moves a probability's last bit
    assert both[1].hits == () and both[1].log_probability is not None
    with pytest.raises(InvalidInput, match="brings no passage"):
        reader.answer(query, [Hit("x", 1.0, 1)])


def test_lora_moves_adapters_only_and_is_kept_apart_from_the_model(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    reader = load_reader(folder, lora=Lora(rank=2, targets=("q", "v")), device="cpu")
    moving = [name for name, weight in reader.model.named_parameters() if weight.requires_grad]
    assert moving and all("lora_" in name for name in moving)
    with torch.no_grad():
        for name, weight in reader.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    reader.save(tmp_path / "adapters")
    assert not (tmp_path / "adapters" / "model.safetensors").exists()
    asked: Any = ([Query("the sky")], ["the sky is blue as the sea"], ["blue"])
    plain, adapted, again = (
        r.read(*asked).log_p for r in (load_reader(folder), reader, load_reader(tmp_path / "adapters"))
    )
    assert torch.equal(adapted, again) and not torch.equal(plain, adapted)
    with pytest.raises(InvalidInput, match="LoRA targets"):
        load_reader(folder, lora=Lora(targets=("nothing",)))


def test_wrong_readers_end_in_one_clear_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAvailable, match="no folder"):
        load_reader(tmp_path / "absent")
    with pytest.raises(InvalidInput, match="device 'gpu' is not known"):
        load_reader(folder, device="gpu")
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folder.iterdir():
        if "token" not in path.name:
            (bare / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        load_reader(bare)
    (bare / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (bare / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert' model"):
        load_reader(bare)
    with pytest.raises(InvalidInput, match="prompt needs"):
        load_reader(folder, prompt="Question: {question}")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"flmr\[train\]"):
        load_reader(folder, lora=Lora())


def test_a_model_that_sees_reads_the_picture_and_scores_what_follows_the_prompt(tmp_path: Path) -> None:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = word_tokenizer([*TEXTS, ReaderSettings().prompt], extra=("<image>",))
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
    text = LlamaConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=1)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=3, image_seq_length=4, vision_feature_layer=-1
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    processor = LlavaProcessor(
        CLIPImageProcessor(**size), tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    TransformersReader(model, processor).save(tmp_path / "llava")
    reader = load_reader(tmp_path / "llava", device="cpu", beams=1, max_answer=3)
    assert reader.reads_images and not reader.encodes
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    queries = [Query("what is the colour of the rose", image) for image in (red, blue)]
    read = reader.read(queries, ["the rose is red", "the sky is blue as the sea"], ["red", "blue as the sea"])
    alone = reader.read(queries[1:], ["the sky is blue as the sea"], ["blue as the sea"])
    assert read.log_p[1].item() == pytest.approx(alone.log_p[0].item(), rel=1e-4)
    other = reader.read([Query(queries[0].text, blue)], ["the rose is red"], ["red"])
    assert other.log_p[0].item() != pytest.approx(read.log_p[0].item(), rel=1e-6)
    answer = reader.answer(queries[0], [Hit("a", 1.0, 1, Passage("a", "the rose is red"))])
    assert answer.log_probability is not None and answer.log_probability < 0
    with pytest.raises(InvalidInput, match="has none"):
        reader.answer(Query("no picture"), [])
