"""A small convolutional network as a vision tower, for training from nothing on little data and time.

Knows the network: every stage halves the sides; all but the first have a residual block.  Knows nothing of FLMR.
Sources: He et al. 2016, "Deep residual learning"; Ioffe and Szegedy 2015, "Batch normalization".

Shapes: B pictures, S pixels a side, W width of a stage, G = S / 2^stages cells a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class ConvNet(nn.Module):
    """Pixels (B, 3, S, S) -> grid (B, W of the last stage, G, G)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        for i, width in enumerate(widths):
            stages.append(_Stage(before, width, size=5 if i == 0 else 3, with_block=i > 0))
            before = width
        self.layers = nn.ModuleList(stages)

    def forward(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        x = pixels_B3SS.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x)
        return x


class _Stage(nn.Module):
    """Half the sides, another width; then a residual block of two convolutions."""

    def __init__(self, before: int, width: int, *, size: int, with_block: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, width, size, stride=2, padding=size // 2, bias=False)
        self.norm = BatchNorm(width)
        self.block = _Block(width) if with_block else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.down(x)))
        return x if self.block is None else self.block(x)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = BatchNorm(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = BatchNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(y)))


class BatchNorm(nn.Module):
    """Batch normalisation whose running mean and variance are weights that no gradient reaches.

    As weights they are kept by all that keeps weights: a run's best step, its state to resume from, a checkpoint.
    """

    def __init__(self, width: int, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.mean = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(
            x, self.mean.detach(), self.variance.detach(), self.weight, self.bias, self.training, self.momentum
        )
