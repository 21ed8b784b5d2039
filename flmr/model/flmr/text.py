"""The text tower: BERT under the published names, and the masks that decide which of its rows count.

Knows token ids.  Knows nothing of tokenizers, images or scores.

Shapes: B texts, L positions, H width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import BertConfig, BertModel

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr.config import FLMRTextConfig, own_fields

_NOT_OF_BERT = ("model_type", "projection_dim", "text_encoder_base_model", "query_maxlen")


class TextTower(nn.Module):
    """BERT of any width and depth; `bert_model` holds it, pooler included although nothing reads it."""

    def __init__(self, config: FLMRTextConfig, attention: str | None = None) -> None:
        super().__init__()
        base = config.text_encoder_base_model
        if base.rpartition("/")[2] != "bert-base-uncased":
            raise CheckpointError(
                f"text_encoder_base_model is {base!r}; only the BERT layout ('bert-base-uncased', any size) is known"
            )
        if config.position_embedding_type != "absolute":
            raise CheckpointError(f"position_embedding_type {config.position_embedding_type!r} is not supported")
        fields = {name: value for name, value in own_fields(config).items() if name not in _NOT_OF_BERT}
        self.bert_model = BertModel(BertConfig(**fields, attn_implementation=attention))
        if config.projection_dim > 0:  # published layout; projects the pooled output, which nothing reads
            self.encode_proj = nn.Linear(config.hidden_size, config.projection_dim)
        self.max_length, self.vocab_size = config.max_position_embeddings, config.vocab_size

    def forward(
        self,
        input_ids_BL: torch.Tensor,
        attention_mask_BL: torch.Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None, tuple[torch.Tensor, ...] | None]:
        """The last hidden state (B, L, H), and all states and attentions where asked for."""
        if input_ids_BL.ndim != 2 or input_ids_BL.shape != attention_mask_BL.shape:
            raise InvalidInput(
                f"input ids {tuple(input_ids_BL.shape)} and attention mask {tuple(attention_mask_BL.shape)} must both "
                "have shape (B, L)"
            )
        if input_ids_BL.dtype not in (torch.int64, torch.int32):
            raise InvalidInput(f"input ids are {input_ids_BL.dtype}; give whole numbers, as the tokenizer returns them")
        if input_ids_BL.shape[1] > self.max_length:
            raise InvalidInput(
                f"{input_ids_BL.shape[1]} tokens given, the text tower takes {self.max_length}; truncate"
            )
        if input_ids_BL.numel() and (highest := int(input_ids_BL.max())) >= self.vocab_size:
            raise InvalidInput(
                f"token id {highest} given, the text tower knows {self.vocab_size}; use the tokenizer of its checkpoint"
            )
        result = self.bert_model(
            input_ids=input_ids_BL,
            attention_mask=attention_mask_BL,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        states = tuple(result.hidden_states) if output_hidden_states else None
        return result.last_hidden_state, states, result.attentions if output_attentions else None


def query_mask(
    input_ids_BL: torch.Tensor, *, skip_ids: Sequence[int] = (), instruction_end_id: int | None = None
) -> torch.Tensor:
    """Which query rows count: (B, L) bool.

    Padding (id 0) and skip_ids do not.  With instruction_end_id, positions 2 up to its first occurrence do not either;
    a query without it keeps all.
    """
    keep_BL = (input_ids_BL != 0) & ~is_one_of(input_ids_BL, skip_ids)
    if instruction_end_id is None:
        return keep_BL
    ends_BL = input_ids_BL == instruction_end_id
    first_B1 = ends_BL.int().argmax(1, keepdim=True).clamp(min=1)
    positions_L = torch.arange(input_ids_BL.shape[1], device=input_ids_BL.device)
    after_BL = (positions_L > first_B1) | (positions_L < 2)
    return keep_BL & (after_BL | ~ends_BL.any(1, keepdim=True))


def context_mask(input_ids_NL: torch.Tensor, *, skip_ids: Sequence[int] = ()) -> torch.Tensor:
    """Which document rows count: (N, L) bool; padding (id 0) and skip_ids (punctuation) do not."""
    return (input_ids_NL != 0) & ~is_one_of(input_ids_NL, skip_ids)


def is_one_of(input_ids: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """Where a token is one of `ids`: bool, the shape of input_ids, on its device."""
    return torch.isin(input_ids, torch.tensor(list(ids), dtype=input_ids.dtype, device=input_ids.device))
