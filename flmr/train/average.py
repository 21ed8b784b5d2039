"""A running mean of the weights that move, which generalises better than where the last step happened to end.

Knows weights by name.  Knows nothing of optimisers or stages.
Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with exponential weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """mean = decay * mean + (1 - decay) * weight after every step, from the weights of the first moment on."""

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self._weights, self._decay = weights, decay
        self._means = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        for name, weight in self._weights.items():
            self._means[name].lerp_(weight, 1 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the weights are the means."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def take_over(self) -> None:
        """From now on the weights are the means."""
        for name, weight in self._weights.items():
            weight.copy_(self._means[name])

    def state(self) -> dict[str, Tensor]:
        """The means, to be kept."""
        return dict(self._means)

    @torch.no_grad()
    def load(self, means: Mapping[str, Tensor]) -> None:
        """Go on from means that were kept."""
        for name, mean in means.items():
            self._means[name].copy_(mean)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            mean = self._means[name].clone()
            self._means[name].copy_(weight)
            weight.copy_(mean)
