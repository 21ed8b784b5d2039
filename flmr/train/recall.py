"""Text states of a tower that does not move, computed once.

Knows token ids and the tower's call; knows nothing of what the states are for.

Shapes: B texts, L positions, H width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class RecalledTower(nn.Module):
    """Stands in for a text tower: gives the stored last state of texts that it has seen, in the tower's own format.

    The tower's parts hang here under their own names, so that the model's weights are named as before.  A text is known
    by its ids up to the last one that is not padding; states of padding are zero, and no row is made of them.  Raises
    KeyError for an unknown text.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        for name, part in tower.named_children():
            self.add_module(name, part)
        self._states: dict[bytes, Tensor] = {}

    def store(self, input_ids_BL: Tensor, states_BLH: Tensor) -> None:
        """Keep the states of each text."""
        for ids_L, states_LH in zip(input_ids_BL, states_BLH, strict=True):
            length = _length(ids_L)
            self._states[_key(ids_L, length)] = states_LH[:length].clone()

    def forward(
        self,
        input_ids_BL: Tensor,
        attention_mask_BL: Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None, None]:
        """The last hidden state (B, L, H)."""
        known = [self._states[_key(ids_L, _length(ids_L))] for ids_L in input_ids_BL.cpu()]
        states_BLH = known[0].new_zeros((*input_ids_BL.shape, known[0].shape[-1]))
        for row, states_LH in enumerate(known):
            states_BLH[row, : len(states_LH)] = states_LH
        return states_BLH.to(input_ids_BL.device), None, None


@contextmanager
def recalling(model: Any, towers: dict[str, RecalledTower]) -> Iterator[None]:
    """Within, the model's text towers named in `towers` are replaced; they are restored after."""
    own = {name: getattr(model, name) for name in towers}
    try:
        for name, tower in towers.items():
            setattr(model, name, tower)
        yield
    finally:
        for name, tower in own.items():
            setattr(model, name, tower)


def _length(ids_L: Tensor) -> int:
    used = ids_L.nonzero()
    return int(used[-1]) + 1 if len(used) else 0


def _key(ids_L: Tensor, length: int) -> bytes:
    return ids_L[:length].numpy().tobytes()
