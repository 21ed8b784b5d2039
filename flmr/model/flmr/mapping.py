"""The two mapping networks: from what a vision tower sees to rows of the text model's space.

Knows the MLP (one summary feature -> P rows) and the transformer (patch features -> one row each, attending to the
text).  The transformer's parameter names are those of a BERT decoder layer, because published checkpoints use them; it
is never causal.  Knows nothing of towers or tokens.

Shapes: B queries, P prefix rows, N patches, L text positions, H text width, V vision width, D dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers.activations import ACT2FN


class MLPMapping(nn.Module):
    """Linear, tanh, linear: (B, V) -> (B, P, D)."""

    def __init__(self, vision_width: int, prefix_length: int, dim: int) -> None:
        super().__init__()
        rows = prefix_length * dim
        self.prefix_length, self.dim = prefix_length, dim
        self.model = nn.Sequential(nn.Linear(vision_width, rows // 2), nn.Tanh(), nn.Linear(rows // 2, rows))

    def forward(self, summary_BV: torch.Tensor) -> torch.Tensor:
        mapped: torch.Tensor = self.model(summary_BV)
        return mapped.view(len(summary_BV), self.prefix_length, self.dim)


class TransformerMapping(nn.Module):
    """Post-norm transformer layers: patches (B, N, H) attend to each other, then to the text (B, L, H) -> (B, N, H).

    There are no positions: the rows of several images may stand one after another.
    """

    def __init__(self, base: Mapping[str, Any]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(base) for _ in range(base["num_hidden_layers"]))

    def forward(
        self, patches_BNH: torch.Tensor, text_BLH: torch.Tensor, visible_BL: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The mapped patches, and the states before, between and after the layers.  visible_BL: bool."""
        states = [patches_BNH]
        for layer in self.layer:
            states.append(layer(states[-1], text_BLH, visible_BL))
        return states[-1], tuple(states)


class _Layer(nn.Module):
    def __init__(self, base: Mapping[str, Any]) -> None:
        super().__init__()
        self.attention = _Attention(base)
        self.crossattention = _Attention(base)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(base["hidden_size"], base["intermediate_size"])})
        self.activation = ACT2FN[base["hidden_act"]]
        self.output = _Output(base["intermediate_size"], base)

    def forward(self, x_BNH: torch.Tensor, text_BLH: torch.Tensor, visible_BL: torch.Tensor) -> torch.Tensor:
        x_BNH = self.attention(x_BNH, x_BNH, None)
        x_BNH = self.crossattention(x_BNH, text_BLH, visible_BL)
        inner = self.activation(self.intermediate["dense"](x_BNH))
        mapped: torch.Tensor = self.output(inner, x_BNH)
        return mapped


class _Attention(nn.Module):
    def __init__(self, base: Mapping[str, Any]) -> None:
        super().__init__()
        width = base["hidden_size"]
        self.self = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = _Output(width, base)
        self.heads, self.dropout_probability = base["num_attention_heads"], base["attention_probs_dropout_prob"]

    def forward(self, x_BNH: torch.Tensor, to_BMH: torch.Tensor, visible_BM: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (
            self.self[name](source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, source in (("query", x_BNH), ("key", to_BMH), ("value", to_BMH))
        )
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if visible_BM is None else visible_BM[:, None, None, :],
            dropout_p=self.dropout_probability if self.training else 0.0,
        )
        mapped: torch.Tensor = self.output(attended.transpose(1, 2).flatten(2), x_BNH)
        return mapped


class _Output(nn.Module):
    """Linear, dropout, residual, layer norm."""

    def __init__(self, width_in: int, base: Mapping[str, Any]) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, base["hidden_size"])
        self.LayerNorm = nn.LayerNorm(base["hidden_size"], eps=base["layer_norm_eps"])
        self.dropout = nn.Dropout(base["hidden_dropout_prob"])

    def forward(self, x: torch.Tensor, residual_BNH: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual_BNH)
        return normed
