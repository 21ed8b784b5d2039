"""Classical curves as figures: rolled curves, roses, spirals, algebraic and transcendental curves.

Knows equations.  Knows no facts about them and no drawing.  Every function returns the figure in the units in which
its facts are stated.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, pi, sqrt

import numpy as np

from flmr.data.sample.contour import contour
from flmr.data.sample.figure import Figure, circle, close, complex_to_points, polar, trace


def hypocycloid(p: int, q: int = 1, num: int = 1441) -> Figure:
    """A point of a circle of radius 1 that rolls inside a circle of radius p/q: p cusps."""
    return hypotrochoid(p / q, 1.0, 1.0, turns=q, num=num)


def epicycloid(p: int, q: int = 1, num: int = 1441) -> Figure:
    """A point of a circle of radius 1 that rolls around a circle of radius p/q: p cusps."""
    return epitrochoid(p / q, 1.0, 1.0, turns=q, num=num)


def hypotrochoid(big: float, small: float, arm: float, turns: int, num: int = 1441) -> Figure:
    """The pen at distance arm from the centre of a circle (small) that rolls inside another (big)."""
    t = np.linspace(0, 2 * pi * turns, num)
    z = (big - small) * np.exp(1j * t) + arm * np.exp(-1j * (big - small) / small * t)
    return _closed(z)


def epitrochoid(big: float, small: float, arm: float, turns: int, num: int = 1441) -> Figure:
    """The pen at distance arm from the centre of a circle (small) that rolls around another (big)."""
    t = np.linspace(0, 2 * pi * turns, num)
    z = (big + small) * np.exp(1j * t) - arm * np.exp(1j * (big + small) / small * t)
    return _closed(z)


def rose(n: int, d: int = 1) -> Figure:
    """r = cos(n/d times the angle), n and d without common divisor."""
    assert gcd(n, d) == 1
    stop = pi * d if n % 2 and d % 2 else 2 * pi * d
    return Figure((_join(polar(lambda a: np.cos(n / d * a), 0, stop, 1441)),), "outline")


def lissajous(a: int, b: int) -> Figure:
    """x = cos(a t), y = sin(b t); a is odd, so that the curve is not run back and forth."""
    assert a % 2 == 1 and gcd(a, b) == 1
    return loop(lambda t: np.cos(a * t), lambda t: np.sin(b * t))


def loop(
    x_of: Callable[[np.ndarray], np.ndarray],
    y_of: Callable[[np.ndarray], np.ndarray],
    begin: float = 0.0123,
) -> Figure:
    """A closed parametric curve of period 2 pi; the odd beginning keeps samples off its crossings."""
    return Figure((_join(trace(x_of, y_of, begin, begin + 2 * pi, 1441)),), "outline")


def line(*strokes: np.ndarray) -> Figure:
    """Open strokes, for the pen only."""
    return Figure(tuple(strokes), "line")


def bernoulli_lemniscate() -> Figure:
    """(x² + y²)² = x² - y²."""
    return loop(lambda t: np.cos(t) / (1 + np.sin(t) ** 2), lambda t: np.sin(t) * np.cos(t) / (1 + np.sin(t) ** 2))


def cassini(b: float) -> Figure:
    """Points whose distances to (-1, 0) and (1, 0) have the product b²; one oval for b > 1, two for b < 1."""

    def r(a: np.ndarray, sign: float) -> np.ndarray:
        c = np.cos(2 * a)
        return np.asarray(np.sqrt(np.maximum(c + sign * np.sqrt(np.maximum(b**4 - 1 + c * c, 0)), 0)))

    if b > 1:
        return Figure((_join(polar(lambda a: r(a, 1), 0, 2 * pi)),), "outline")
    limit = np.arcsin(b * b) / 2
    half = limit * np.sin(np.linspace(-pi / 2, pi / 2, 500))
    right = np.concatenate([half, half[::-1]]), np.concatenate([r(half, 1), r(half[::-1], -1)])
    oval = np.stack([right[1] * np.cos(right[0]), right[1] * np.sin(right[0])], 1)
    return Figure((_join(close(oval)), _join(close(-oval))), "outline")


def rectangular_hyperbola() -> Figure:
    """x² - y² = 1, both branches, cut off."""
    right = trace(np.cosh, np.sinh, -1.7, 1.7)
    return line(right, -right)


def cruciform() -> Figure:
    """1/x² + 1/y² = 1, its four branches, cut off."""
    branch = trace(lambda t: 1 / np.cos(t), lambda t: 1 / np.sin(t), 0.28, pi / 2 - 0.28, 200)
    return line(*(branch * np.array([a, b]) for a in (1, -1) for b in (1, -1)))


def squircle() -> Figure:
    """x⁴ + y⁴ = 1."""

    def power(v: np.ndarray) -> np.ndarray:
        return np.asarray(np.sign(v) * np.sqrt(np.abs(v)))

    return loop(lambda t: power(np.cos(t)), lambda t: power(np.sin(t)))


def fay_butterfly() -> Figure:
    """r = exp(cos t) - 2 cos 4t + sin⁵(t/12), as an x-y pair with the head up."""

    def r(t: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.cos(t)) - 2 * np.cos(4 * t) + np.sin(t / 12) ** 5)

    return line(trace(lambda t: np.sin(t) * r(t), lambda t: np.cos(t) * r(t), 0, 12 * pi, 2400))


def folium_of_descartes() -> Figure:
    """x³ + y³ = 3xy, cut off at a distance from the node."""

    def stroke(start: float, stop: float, num: int) -> np.ndarray:
        a = np.linspace(start, stop, num)
        r = 3 * np.sin(a) * np.cos(a) / (np.sin(a) ** 3 + np.cos(a) ** 3)
        return np.stack([r * np.cos(a), r * np.sin(a)], 1)

    return line(stroke(-0.56, pi / 2 + 0.56, 800))


def conchoid() -> Figure:
    """Nicomedes' conchoid of the line y = 1 with the pole at the origin and distance 2: both branches."""
    a = np.linspace(0.30, pi - 0.30, 700)
    branches = [np.stack([(1 / np.sin(a) + k) * np.cos(a), (1 / np.sin(a) + k) * np.sin(a)], 1) for k in (2, -2)]
    return line(*branches)


def euler_spiral(reach: float = 4.4) -> Figure:
    """The curve whose curvature is proportional to its arc length: Fresnel's integrals of cos(pi u²/2), sin(...)."""
    s = np.linspace(0, reach, 6001)
    mid = (s[1:] + s[:-1]) / 2
    step = s[1] - s[0]
    z = np.concatenate([[0], np.cumsum(np.exp(0.5j * pi * mid**2)) * step])[::5]
    return line(complex_to_points(np.concatenate([-z[::-1], z[1:]])))


def theodorus(num: int = 16) -> Figure:
    """A fan of right triangles with outer side 1 and hypotenuses sqrt(2), sqrt(3), ..., sqrt(num + 1)."""
    points = [1 + 0j]
    for _ in range(num):
        points.append(points[-1] * (1 + 1j / abs(points[-1])))
    rim = complex_to_points(np.array(points))
    return line(rim, *(np.array([[0.0, 0.0], p]) for p in rim))


def fibonacci_spiral(num: int = 8) -> Figure:
    """Squares with Fibonacci sides set around each other, and a quarter circle in each."""
    strokes, side, following = [], 1, 1
    corner, direction = 0 + 0j, 1 + 0j
    for _ in range(num):
        ahead, left = direction * side, 1j * direction * side
        square = np.array([corner, corner + ahead, corner + ahead + left, corner + left, corner])
        angles = np.linspace(0, pi / 2, 40)
        strokes += [complex_to_points(square), complex_to_points(corner + left - left * np.exp(1j * angles))]
        corner, direction = corner + ahead + left, 1j * direction
        side, following = following, side + following
    return line(*strokes)


def vogel(num: int = 220) -> Figure:
    """Seed n at distance sqrt(n), turned by n golden angles."""
    n = np.arange(1, num + 1)
    return Figure((complex_to_points(np.sqrt(n) * np.exp(1j * n * pi * (3 - sqrt(5)))),), "dots")


def implicit(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    box: tuple[float, float, float, float],
    filled: bool = True,
    least: int = 20,
) -> Figure:
    """The curve function(x, y) = 0 in a box; pieces of fewer than `least` points are dropped."""
    strokes = tuple(s for s in contour(function, box) if len(s) >= least)
    return Figure(strokes, "outline" if filled else "line")


def knot(z_of: Callable[[np.ndarray], np.ndarray], height_of: Callable[[np.ndarray], np.ndarray]) -> Figure:
    """A closed curve drawn as a knot: where two strands cross, the lower one (by height) is interrupted."""
    t = np.linspace(0, 2 * pi, 1201)
    z, height = z_of(t), height_of(t)
    return line(*_broken(complex_to_points(z), height, gap=0.1 * np.abs(z).max()))


def trefoil_knot() -> Figure:
    """x = sin t + 2 sin 2t, y = cos t - 2 cos 2t, height -sin 3t."""

    def z(t: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(t) + 2 * np.sin(2 * t) + 1j * (np.cos(t) - 2 * np.cos(2 * t)))

    return knot(z, lambda t: -np.sin(3 * t))


def borromean() -> Figure:
    """Three equal circles, each passing over one neighbour and under the other at all crossings."""
    strokes = []
    for k in range(3):
        centre = 0.62 * np.exp(2j * pi * k / 3 + 0.5j * pi)
        over = 0.62 * np.exp(2j * pi * (k + 1) / 3 + 0.5j * pi)
        points = complex_to_points(centre + np.exp(1j * np.linspace(0, 2 * pi, 721)))
        near = np.abs(np.hypot(points[:, 0] - over.real, points[:, 1] - over.imag) - 1) < 0.11
        strokes += _runs(points, ~near)
    return line(*strokes)


def _broken(points: np.ndarray, height: np.ndarray, gap: float) -> list[np.ndarray]:
    """Cut a closed curve wherever another part of it passes above within the gap."""
    index = np.arange(len(points))
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    along = np.abs(index[:, None] - index[None])
    apart = np.minimum(along, len(points) - 1 - along) > len(points) // 16
    keep = ~((distance < gap) & apart & (height[None] > height[:, None])).any(1)
    return _runs(points, keep)


def _runs(points: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
    """The stretches of a closed polyline where keep holds, joined across its seam."""
    cut = int(np.argmin(keep))
    points = np.concatenate([points[cut:-1], points[: cut + 1]])
    keep = np.concatenate([keep[cut:-1], keep[: cut + 1]])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(int), [0]])))
    return [points[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 3]


def disc() -> Figure:
    """The unit circle."""
    return Figure((circle(num=721),), "outline")


def _closed(z: np.ndarray) -> Figure:
    return Figure((_join(complex_to_points(z)),), "outline")


def _join(stroke: np.ndarray) -> np.ndarray:
    joined = stroke.copy()
    joined[-1] = joined[0]
    return joined
