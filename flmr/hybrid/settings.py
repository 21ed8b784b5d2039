"""How words and rows are searched together, and what is done to a query's rows in between.

Knows the settings and what makes them valid.  Knows no ranking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flmr.errors import InvalidInput

METHODS = ("rrf", "weighted")
SCALES = ("minmax", "z")


@dataclass(frozen=True)
class Feedback:
    """Pseudo-relevance feedback: rows of the best passages are added to the query's, and it is asked again.

    passages: how many of the first ranking are believed.  clusters: centres that their rows are put together to.
    rows: how many of these are added, those that tell the passages most from others.  weight: of an added row that no
    other passage has, where a row of the query has 1.
    Source: Wang et al., "Pseudo-Relevance Feedback for Multiple Representation Dense Retrieval", ICTIR 2021.
    """

    passages: int = 3
    clusters: int = 24
    rows: int = 10
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("passages", "clusters", "rows"):
            _check_whole("feedback", name, getattr(self, name))
        _check_number("feedback", "weight", self.weight, 0)


@dataclass(frozen=True)
class Refinement:
    """Guided refinement: the query's rows move until their scores come nearer to a mixture with the partner's.

    candidates: of each of the two, what they are compared on.  steps, rate: of gradient descent; in one step a row
    moves by `rate` times what candidates are short of, at most twice `rate` for rows of length 1.  mixture: the
    partner's share in the target.  temperature: of both softmaxes, in standard deviations of the candidates' scores.
    Source: "Guided Query Refinement", ICLR 2026, arXiv 2510.05038.
    """

    candidates: int = 20
    steps: int = 5
    rate: float = 0.05
    mixture: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("candidates", "steps"):
            _check_whole("refinement", name, getattr(self, name))
        _check_number("refinement", "rate", self.rate, 0)
        _check_number("refinement", "mixture", self.mixture, 0, 1)
        _check_number("refinement", "temperature", self.temperature, 1e-3)


@dataclass(frozen=True)
class Hybrid:
    """Two rankings of every query, by its rows and by its words, made one.

    method: "weighted" (scores brought to one scale) or "rrf" (ranks).  weight: the rows' share; 1 is rows alone, 0
    words alone.  depth: hits of each that are fused.  scale: of scores, "minmax" or "z".  constant: see `fuse`.
    feedback, refinement: what is done to the rows before they are searched with again, in this order.
    before: whether feedback takes its passages from the fusion, or from the rows' own ranking.  after: whether what
    the changed rows find is fused again with the words.
    """

    method: str = "weighted"
    weight: float = 0.7
    depth: int = 100
    scale: str = "minmax"
    constant: float = 60.0
    feedback: Feedback | None = None
    refinement: Refinement | None = None
    before: bool = True
    after: bool = True

    def __post_init__(self) -> None:
        check_method(self.method)
        check_scale(self.scale)
        _check_number("hybrid", "weight", self.weight, 0, 1)
        _check_number("hybrid", "constant", self.constant, 0)
        _check_whole("hybrid", "depth", self.depth)

    @classmethod
    def of(cls, asked: Hybrid | str) -> Hybrid:
        """The settings themselves, or the defaults of a method."""
        if isinstance(asked, Hybrid):
            return asked
        if not isinstance(asked, str):
            raise InvalidInput(f"hybrid must be a method ({_or(METHODS)}) or a flmr.hybrid.Hybrid, not {asked!r}")
        return cls(method=asked)


def check_method(method: str) -> None:
    """Raise InvalidInput unless rankings can be fused so."""
    if method not in METHODS:
        raise InvalidInput(f"rankings are fused by {_or(METHODS)}, not by {method!r}")


def check_scale(scale: str) -> None:
    """Raise InvalidInput unless scores can be scaled so."""
    if scale not in SCALES:
        raise InvalidInput(f"scores are scaled by {_or(SCALES)}, not by {scale!r}")


def _or(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


def _check_whole(what: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} of {what} must be a whole number from 1, not {value!r}")


def _check_number(what: str, name: str, value: object, least: float, most: float = math.inf) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        limits = f"from {least:g}" + ("" if math.isinf(most) else f" to {most:g}")
        raise InvalidInput(f"{name} of {what} must be a number {limits}, not {value!r}")
