"""A figure of the plane as polylines, and what can be measured on it.

Knows points, lengths, areas, crossings and symmetries.  Knows no names, no facts and no colours.

Shapes: P points of a polyline, (P, 2) float64; a polyline is closed where its last point equals its first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["line", "outline", "solid", "dots"]


@dataclass(frozen=True)
class Figure:
    """What is drawn, in the units of its own definition.

    strokes: polylines.  kind "line": drawn by a pen only.  "outline": closed, may also be filled (even-odd).
    "solid": closed pieces that are always filled.  "dots": each stroke is a cloud of points.
    """

    strokes: tuple[np.ndarray, ...]
    kind: Kind = "line"

    def __post_init__(self) -> None:
        for stroke in self.strokes:
            assert stroke.ndim == 2 and stroke.shape[1] == 2 and np.isfinite(stroke).all()

    @property
    def points(self) -> np.ndarray:
        """All points of all strokes: (P, 2)."""
        return np.concatenate(self.strokes)

    def unit(self) -> Figure:
        """The same figure, moved and scaled so that its smallest circle is (nearly) the unit circle."""
        centre, radius = enclosing_circle(self.points)
        return Figure(tuple((s - centre) / radius for s in self.strokes), self.kind)


def trace(
    x_of: Callable[[np.ndarray], np.ndarray],
    y_of: Callable[[np.ndarray], np.ndarray],
    start: float,
    stop: float,
    num: int = 1200,
) -> np.ndarray:
    """A parametric curve as a polyline of num points: (num, 2)."""
    t = np.linspace(start, stop, num)
    return np.stack([np.broadcast_to(x_of(t), t.shape), np.broadcast_to(y_of(t), t.shape)], 1).astype(np.float64)


def polar(r_of: Callable[[np.ndarray], np.ndarray], start: float, stop: float, num: int = 1200) -> np.ndarray:
    """A polar curve r(angle) as a polyline: (num, 2)."""
    return trace(lambda a: r_of(a) * np.cos(a), lambda a: r_of(a) * np.sin(a), start, stop, num)


def circle(x: float = 0.0, y: float = 0.0, r: float = 1.0, num: int = 181) -> np.ndarray:
    """A circle as a closed polyline."""
    return arc(x, y, r, 0.0, 360.0, num)


def arc(x: float, y: float, r: float, start_deg: float, stop_deg: float, num: int = 181) -> np.ndarray:
    """An arc of a circle as a polyline."""
    angles = np.radians(np.linspace(start_deg, stop_deg, num))
    line = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1)
    if abs(stop_deg - start_deg) == 360:
        line[-1] = line[0]
    return line


def close(points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """The polygon with these corners as a closed polyline."""
    array = np.asarray(points, np.float64)
    return np.concatenate([array, array[:1]])


def complex_to_points(z: np.ndarray) -> np.ndarray:
    """Complex numbers as points."""
    return np.stack([z.real, z.imag], 1)


def is_closed(stroke: np.ndarray) -> bool:
    """Whether a polyline ends where it began."""
    size = float(np.abs(stroke).max()) + 1e-12
    return bool(np.abs(stroke[0] - stroke[-1]).max() < 1e-6 * size)


def enclosing_circle(points: np.ndarray, steps: int = 200) -> tuple[np.ndarray, float]:
    """Centre and radius of (nearly) the smallest circle around points; Badoiu and Clarkson's walk."""
    directions = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    outer = points[np.argmax(points @ np.stack([np.cos(directions), np.sin(directions)]), 0)]
    centre = (points.min(0) + points.max(0)) / 2
    for i in range(1, steps + 1):
        far = outer[np.argmax(((outer - centre) ** 2).sum(1))]
        centre = centre + (far - centre) / (i + 1)
    return centre, float(np.sqrt(((points - centre) ** 2).sum(1).max()))


def length(figure: Figure) -> float:
    """Total length of all strokes."""
    return float(sum(np.sqrt((np.diff(s, axis=0) ** 2).sum(1)).sum() for s in figure.strokes))


def area(figure: Figure) -> float:
    """Sum of the areas inside the strokes, each a simple closed polygon (shoelace formula)."""
    return float(sum(abs(signed_area(s)) for s in figure.strokes))


def signed_area(stroke: np.ndarray) -> float:
    """Shoelace area of one closed polyline; parts that run clockwise count negative."""
    x, y = stroke[:, 0], stroke[:, 1]
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 + (x[-1] * y[0] - x[0] * y[-1]) / 2)


def extent(figure: Figure) -> tuple[float, float]:
    """Width and height of the box around the figure, as it stands."""
    width, height = figure.points.max(0) - figure.points.min(0)
    return float(width), float(height)


def crossings(figure: Figure, tolerance: float = 1e-3) -> int:
    """Number of points at which the strokes cross themselves or each other; points nearer than tolerance are one.

    tolerance: in units of the figure's radius.  Meant for curves of a few thousand points: every pair is compared.
    """
    strokes = figure.unit().strokes
    begins = np.concatenate([s[:-1] for s in strokes])
    ends = np.concatenate([s[1:] for s in strokes])
    found: list[np.ndarray] = []
    for i in range(len(begins)):
        p, r = begins[i], ends[i] - begins[i]
        q, s = begins[i + 1 :], ends[i + 1 :] - begins[i + 1 :]
        denominator = r[0] * s[:, 1] - r[1] * s[:, 0]
        w = q - p
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (w[:, 0] * s[:, 1] - w[:, 1] * s[:, 0]) / denominator
            u = (w[:, 0] * r[1] - w[:, 1] * r[0]) / denominator
        # half-open segments: neighbours that share an end do not count as a crossing
        hit = (np.abs(denominator) > 1e-15) & (t > 1e-9) & (t <= 1 - 1e-9) & (u > 1e-9) & (u <= 1 - 1e-9)
        found.extend(p + t[hit, None] * r)
    distinct: list[np.ndarray] = []
    for point in found:
        if all(np.hypot(*(point - other)) > tolerance for other in distinct):
            distinct.append(point)
    return len(distinct)


def resample(stroke: np.ndarray, step: float) -> np.ndarray:
    """Points at equal arc length along a polyline, about step apart, both ends kept."""
    lengths = np.sqrt((np.diff(stroke, axis=0) ** 2).sum(1))
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    num = max(2, round(along[-1] / step) + 1)
    at = np.linspace(0, along[-1], num)
    return np.stack([np.interp(at, along, stroke[:, 0]), np.interp(at, along, stroke[:, 1])], 1)


def turned(points: np.ndarray, degrees: float, mirror: bool = False) -> np.ndarray:
    """Points turned about the origin, after a flip of the y axis where mirror is set."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    flipped = points * np.array([1.0, -1.0]) if mirror else points
    return np.asarray(flipped @ np.array([[c, s], [-s, c]]))
