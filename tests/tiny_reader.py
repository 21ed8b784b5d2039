"""A tiny T5 with a word-level vocabulary, saved with its tokenizer: `from tiny_reader import write_tiny_reader`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def word_tokenizer(texts: Iterable[str], *, extra: tuple[str, ...] = ()) -> Any:
    """Every word and mark of the texts is a token; `</s>` ends a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.lower().replace(".", " . ").replace(":", " : ").split()})
    vocab = ["<pad>", "</s>", "<unk>", *extra, *words]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocab)}, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, additional_special_tokens=list(extra), **marks)


def write_tiny_reader(folder: Path, texts: Iterable[str], *, seed: int = 0) -> Path:
    """Random weights, 32 wide, one layer a side."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from flmr.model.reader import ReaderSettings, TransformersReader

    tokenizer = word_tokenizer([*texts, ReaderSettings().prompt])
    width = {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.1}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **width, **ids))
    TransformersReader(model, tokenizer, ReaderSettings(max_prompt=48, max_answer=4)).save(folder)
    return folder
