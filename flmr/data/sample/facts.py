"""How facts are written down: prose in which each answer is marked with the type of question that it answers.

Knows the mark-up, numbers in words and the sentences that most figures share.  Knows no single figure.

A text such as "The {deltoid|name} has {three cusps|points}." reads "The deltoid has three cusps." and holds two facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from flmr.data.sample.figure import Figure, area, extent, length

PassageKind = Literal["shape", "measure", "symmetry", "story"]
FactType = Literal[
    "rule", "family", "length", "area", "size", "dimension", "count",
    "rotation", "mirrors", "crossings", "points", "name", "person", "place", "kin",
]  # fmt: skip

KINDS: tuple[PassageKind, ...] = get_args(PassageKind)
MARK = re.compile(r"\{([^{}|]+)\|(\w+)\}")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Fact:
    """One thing that a passage says: the type of question and the words that answer it."""

    type: FactType
    answer: str


@dataclass(frozen=True)
class Entity:
    """A figure of the atlas: its name as it stands within a sentence, its drawing, and its marked texts by kind."""

    id: str
    name: str
    figure: Callable[[], Figure]
    texts: Mapping[PassageKind, str]

    @property
    def title(self) -> str:
        """The name with a capital."""
        return self.name[0].upper() + self.name[1:]

    def text(self, kind: PassageKind) -> str:
        """The passage as it is read."""
        return MARK.sub(lambda m: m.group(1), self.texts[kind])

    def facts(self, kind: PassageKind) -> tuple[Fact, ...]:
        """The facts that the passage holds, in order."""
        found = []
        for answer, name in MARK.findall(self.texts[kind]):
            if name not in get_args(FactType):
                raise ValueError(f"{self.id} {kind}: {name!r} is no type of fact")
            found.append(Fact(name, answer))
        return tuple(found)


def word(n: int) -> str:
    """A number in words up to twelve, in digits above."""
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def many(n: int, singular: str, plural: str | None = None) -> str:
    """ "no cusps", "one cusp", "three cusps"."""
    return f"{word(n)} {singular if n == 1 else plural or singular + 's'}"


def number(value: float) -> str:
    """Four significant digits, without a tail of zeros."""
    rounded = float(f"{value:.4g}")
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def measure(name: str, canon: str, figure: Figure, *, closed: str = "", extra: str = "") -> str:
    """The measure text of a figure of finite length.

    canon: what fixes its size, as in "with a rolling circle of radius 1".  closed: the area in closed form, "?" where
    it has none that is short; the area itself is taken from the figure, made of simple closed strokes then.
    """
    whole, (width, height) = number(length(figure)), extent(figure)
    box = f"{number(width)} by {number(height)}"
    form = f"{closed}, about {number(area(figure))}" if closed != "?" else f"about {number(area(figure))}"
    inside = f" The area inside is {{{form}|area}}." if closed else ""
    texts = (
        f"Take the {name} {canon}. All its lines together are {{about {whole} long|length}}.{inside}"
        f" As it stands it just fits into a box of {{{box}|size}}. {extra}",
        f"For the {name} {canon}, the length of what is drawn comes to {{about {whole}|length}} in the same "
        f"units.{inside} The smallest upright rectangle around it measures {{{box}|size}}. {extra}",
        f"The {name} {canon} reaches {{{box}|size}} in width and height. Walking along every line of it once"
        f" means going {{{whole} units|length}}.{inside} {extra}",
    )
    return texts[sum(map(ord, name)) % len(texts)].strip()


def symmetry(
    name: str,
    order: int,
    mirrors: int,
    *,
    crossings: int | None = None,
    points: str = "",
    extra: str = "",
) -> str:
    """The symmetry text: order of rotation, mirror lines, and where they are counted crossings and cusps or corners."""
    pick = sum(map(ord, name)) % 3
    parts = [_rotation(name, order, pick), _mirrors(order, mirrors, pick)]
    if points:
        ways = (
            f"One counts {{{points}|points}}.",
            f"There are {{{points}|points}} on it.",
            f"It shows {{{points}|points}}.",
        )
        parts.append(ways[pick])
    if crossings is not None:
        where = "at one point" if crossings == 1 else f"at {word(crossings)} points"
        says = f"Its lines cross {{{where}|crossings}}." if crossings else "Its line {never crosses itself|crossings}."
        parts.append(says)
    return " ".join([*parts, extra]).strip()


def _rotation(name: str, order: int, pick: int) -> str:
    if order == 1:
        return (
            f"The {name} has {{no rotational symmetry|rotation}}: only a full turn brings it back onto itself.",
            f"Nothing short of a complete turn lays the {name} onto itself, which means {{no rotational "
            f"symmetry|rotation}}.",
            f"Turn the {name} and it looks different until the turn is complete: it has {{no rotational "
            f"symmetry|rotation}}.",
        )[pick]
    turn = number(360 / order)
    return (
        f"Turned by {turn} degrees the {name} falls onto itself; its rotational symmetry is {{of order "
        f"{order}|rotation}}.",
        f"The {name} repeats itself every {turn} degrees, that is, it has rotational symmetry {{of order "
        f"{order}|rotation}}.",
        f"A turn of {turn} degrees about the centre leaves the {name} unchanged: a symmetry {{of order "
        f"{order}|rotation}}.",
    )[pick]


def _mirrors(order: int, mirrors: int, pick: int) -> str:
    lines = many(mirrors, "mirror line")
    if mirrors == 0:
        tail = "its mirror image cannot be turned to cover it, so left and right versions differ"
        return f"It has {{{lines}|mirrors}}; {tail}."
    group = f"the dihedral group of {2 * order} motions" if order > 1 else "the group of a plain reflection"
    return (
        f"It has {{{lines}|mirrors}}, and its symmetries form {group}.",
        f"{lines.capitalize()} can be drawn: in all it has {{{lines}|mirrors}}, so its symmetries make up {group}.",
        f"Folding works along {{{lines}|mirrors}}; together with the turns this gives {group}.",
    )[pick]
