"""Pictures of the atlas: an entity, a seed and a style make one picture, the same on every run.

Knows how a picture is seeded and which styles a split may use.  Knows no question.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from flmr.data.sample.figure import Figure
from flmr.data.sample.passages import entities
from flmr.data.sample.scene import Scene, thinned
from flmr.data.sample.styles import STYLES, TEST_STYLES, TRAIN_STYLES, VALID_STYLES
from flmr.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 128

# The styles of a split: those that train has, and those that are held out for this split alone.
SPLIT_STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (tuple(TRAIN_STYLES), ()),
    "valid": (tuple(TRAIN_STYLES), tuple(VALID_STYLES)),
    "test": (tuple(TRAIN_STYLES), tuple(TEST_STYLES)),
}


def render(entity_id: str, seed: int, style: str, size: int = SIZE) -> Image:
    """The figure in a pose, light and texture drawn from (entity, seed, style): an RGB picture of size x size.

    Raises InvalidInput for an unknown entity or style.
    """
    from PIL import Image

    if style not in STYLES:
        raise InvalidInput(f"style {style!r} is not known; there are {', '.join(STYLES)}")
    if size < 16:
        raise InvalidInput(f"size is {size}; a picture needs at least 16 pixels a side")
    key = hashlib.sha256(f"{entity_id} {seed} {style}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:16], "little"))
    picture = STYLES[style](Scene(_drawing(entity_id), size, rng))
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def seed_of(split: str, number: int, seed: int = 0) -> int:
    """The seed of a split's picture; no two splits share one."""
    key = hashlib.sha256(f"{split} {number} {seed}".encode()).digest()
    return int.from_bytes(key[:7], "little")


@cache
def _drawing(entity_id: str) -> Figure:
    for entity in entities():
        if entity.id == entity_id:
            return thinned(entity.figure())
    raise InvalidInput(
        f"entity {entity_id!r} is not in the atlas; flmr.data.sample.entities() lists its {len(entities())}"
    )
