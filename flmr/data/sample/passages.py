"""The atlas: all entities in one order, and their passages as records.

Knows where the entities are written down.  Knows no question and no picture.
"""

from __future__ import annotations

from functools import cache

from flmr.data.sample import entities_curves, entities_fractals, entities_polygons, entities_rolled
from flmr.data.sample.facts import KINDS, Entity, PassageKind
from flmr.records import Passage


@cache
def entities() -> tuple[Entity, ...]:
    """Every figure of the atlas, in a fixed order."""
    sources = (entities_rolled, entities_curves, entities_polygons, entities_fractals)
    return tuple(entity for source in sources for entity in source.entities())


def passages() -> list[Passage]:
    """Four passages for each figure: shape, measure, symmetry, story."""
    return [
        Passage(passage_id(entity, kind), entity.text(kind), entity.title, meta={"entity": entity.id, "kind": kind})
        for entity in entities()
        for kind in KINDS
    ]


def passage_id(entity: Entity, kind: PassageKind) -> str:
    """As in "cardioid#shape"."""
    return f"{entity.id}#{kind}"
