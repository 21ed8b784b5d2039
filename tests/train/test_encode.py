"""Texts as ids: what makes no row and is not attended to is padding."""

from __future__ import annotations

import torch

from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS, new_tokenizers
from flmr.train.encode import TokenizedTexts

MASK = RESERVED_TOKENS.index("[MASK]")


def test_mask_tokens_that_make_no_rows_are_cut_away() -> None:
    query_tokenizer, _ = new_tokenizers([*RESERVED_TOKENS, ".", "a", "b"], query_maxlen=20)
    filled = TokenizedTexts.of(query_tokenizer, ["a b", "a b a b"])
    assert filled.lengths.tolist() == [20, 20]
    cut = TokenizedTexts.of(query_tokenizer, ["a b", "a b a b"], lambda ids: (ids != 0) & (ids != MASK))
    assert cut.lengths.tolist() == [5, 7]
    ids, attention = cut.take([0, 1])
    assert torch.equal(ids.bool(), attention.bool())
    assert torch.equal(ids[1], filled.ids[1, :7])
