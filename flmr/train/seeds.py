"""Seeds: every part of a run has its own, made of the run's, so that none depends on what another has drawn.

Knows numbers and torch's generator.  Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def mixed_seed(*parts: int) -> int:
    """One seed of several numbers, 0 to 2^63 - 1; others, or the same in another order, give another."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generator (dropout) starts at `seed` inside, and is as it was before outside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
