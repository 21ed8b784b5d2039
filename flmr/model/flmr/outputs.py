"""What the model returns: the published output classes, their field names and order.

Knows nothing else.  Shapes: B queries, N documents, L rows, D dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput


@dataclass
class FLMRQueryEncoderOutput(ModelOutput):  # type: ignore[misc]
    """Queries: late_interaction_output (B, L, D), masked rows zero; pooler_output (B, D), row 0 before normalisation.

    query_mask (B, L) bool: the rows that count (ours).
    """

    pooler_output: torch.Tensor | None = None
    late_interaction_output: torch.Tensor | None = None
    text_encoder_attentions: tuple[torch.Tensor, ...] | None = None
    text_encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    vision_encoder_attentions: tuple[torch.Tensor, ...] | None = None
    vision_encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    transformer_mapping_network_attentions: tuple[torch.Tensor, ...] | None = None
    transformer_mapping_network_hidden_states: tuple[torch.Tensor, ...] | None = None
    query_mask: torch.Tensor | None = None


@dataclass
class FLMRContextEncoderOutput(ModelOutput):  # type: ignore[misc]
    """Documents: late_interaction_output (N, L, D), or a list of (n, D) where `keep_dims` is false; context_mask
    (N, L, 1) bool; pooler_output (N, D), row 0 after normalisation.
    """

    pooler_output: torch.Tensor | None = None
    late_interaction_output: Any = None
    context_mask: torch.Tensor | None = None
    text_encoder_attentions: tuple[torch.Tensor, ...] | None = None
    text_encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    vision_encoder_attentions: tuple[torch.Tensor, ...] | None = None
    vision_encoder_hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class FLMRModelForRetrievalOutput(ModelOutput):  # type: ignore[misc]
    """Training: loss (); scores (B, 1+n), each query against its own documents; the two sides' rows."""

    loss: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    in_batch_negative_loss: torch.Tensor | None = None
    query_late_interaction_output: torch.Tensor | None = None
    context_late_interaction_output: torch.Tensor | None = None
    query_attentions: tuple[torch.Tensor, ...] | None = None
    query_hidden_states: tuple[torch.Tensor, ...] | None = None
    context_attentions: tuple[torch.Tensor, ...] | None = None
    context_hidden_states: tuple[torch.Tensor, ...] | None = None
