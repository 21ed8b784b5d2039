"""Polygons, stars, arrangements of circles, graphs and tiles as figures.

Knows corners, centres and edges.  Knows no facts about them and no drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, pi, sqrt

import numpy as np

from flmr.data.sample.figure import Figure, arc, circle, close, complex_to_points


def regular(n: int) -> Figure:
    """The regular n-gon with circumradius 1, one corner on top."""
    return Figure((close(_ring(n)),), "outline")


def star(n: int, k: int) -> Figure:
    """{n/k}: n points on the unit circle, each joined to the k-th next; gcd(n, k) closed polygons."""
    ring = _ring(n)
    parts = gcd(n, k)
    return Figure(tuple(close(ring[[(s + k * i) % n for i in range(n // parts)]]) for s in range(parts)), "outline")


def reuleaux() -> Figure:
    """Three 60-degree arcs, each centred on the opposite corner of a triangle of side 1."""
    a, b, c = (0.0, 0.0), (1.0, 0.0), (0.5, sqrt(3) / 2)
    parts = [arc(*a, 1, 0, 60, 61), arc(*b, 1, 120, 180, 61), arc(*c, 1, 240, 300, 61)]
    return Figure((_sealed(np.concatenate(parts)),), "outline")


def arbelos(t: float = 0.62) -> Figure:
    """Archimedes' knife: the half disc over [0, 2] without the half discs over [0, 2t] and [2t, 2]."""
    parts = [arc(1, 0, 1, 0, 180), arc(t, 0, t, 180, 0), arc(1 + t, 0, 1 - t, 180, 0)]
    return Figure((_sealed(np.concatenate(parts)),), "outline")


def salinon(inner: float = 0.45) -> Figure:
    """Archimedes' salt cellar: large half circle above, two small ones cut in, one hanging below; large radius 1."""
    small = (1 - inner) / 2
    parts = [
        arc(0, 0, 1, 0, 180),
        arc(-inner - small, 0, small, 180, 0),
        arc(0, 0, inner, 180, 360),
        arc(inner + small, 0, small, 180, 0),
    ]
    return Figure((_sealed(np.concatenate(parts)),), "outline")


def lune() -> Figure:
    """Hippocrates' lune: the half circle over a chord of length sqrt(2), less the segment of the unit circle."""
    outer = arc(0.5, 0.5, sqrt(0.5), -45, 135)
    inner = arc(0, 0, 1, 90, 0)
    return Figure((_sealed(np.concatenate([outer, inner])),), "outline")


def vesica() -> Figure:
    """Two unit circles, each through the other's centre."""
    return Figure((circle(-0.5, num=200), circle(0.5, num=200)), "outline")


def taijitu() -> Figure:
    """The dark half of the yin-yang disc of radius 1, its eyes, and the circle around both; seams lie in the dark."""
    half = [arc(0, -0.5, 0.5, -90, 90), arc(0, 0.5, 0.5, 270, 90), arc(0, 0, 1, 90, 270)]
    dark = _ribbon(_sealed(np.concatenate(half)), arc(0, -0.5, 0.14, -90, 270))
    rim = _ribbon(arc(0, 0, 1, 180, 540), arc(0, 0, 0.94, 180, 540))
    return Figure((dark, circle(0, 0.5, 0.14), rim), "solid")


def seed_of_life() -> Figure:
    """Seven unit circles: one, and six around centres at distance 1."""
    return Figure((circle(), *(circle(x, y) for x, y in _ring(6))), "outline")


def steiner_chain(n: int = 8) -> Figure:
    """n equal circles in the ring between two concentric circles, each touching its neighbours; outer radius 1."""
    s = np.sin(pi / n)
    middle = 1 / (1 + s)
    small = middle * s
    ring = _ring(n) * middle
    return Figure((circle(), circle(r=middle - small), *(circle(x, y, small, 73) for x, y in ring)), "outline")


def pappus_chain(num: int = 7) -> Figure:
    """Circles in an arbelos: circle n has its centre at height 2n times its radius; outer diameter 1, ratio 2/3."""
    r = 2 / 3
    strokes = [arc(0.5, 0, 0.5, 0, 180), arc(r / 2, 0, r / 2, 0, 180), arc((1 + r) / 2, 0, (1 - r) / 2, 0, 180)]
    for n in range(1, num + 1):
        d = 2 * (n * n * (1 - r) ** 2 + r)
        strokes.append(circle(r * (1 + r) / d, 2 * n * r * (1 - r) / d, (1 - r) * r / d, 73))
    strokes.append(np.array([[0.0, 0.0], [1.0, 0.0]]))
    return Figure(tuple(strokes), "line")


def ford_circles(largest: int = 7) -> Figure:
    """For each fraction p/q from 0 to 1 in lowest terms, the circle over p/q with radius 1/(2q²)."""
    strokes = [np.array([[-0.5, 0.0], [1.5, 0.0]])]
    for q in range(1, largest + 1):
        for p in range(q + 1):
            if gcd(p, q) == 1:
                strokes.append(circle(p / q, 0.5 / q**2, 0.5 / q**2, 91))
    return Figure(tuple(strokes), "line")


def apollonian(depth: int = 4) -> Figure:
    """The gasket between three equal touching circles and the circle around them (radius 1), by Descartes' theorem."""
    r = 2 * sqrt(3) - 3
    first = [(-1.0, 0j)] + [(1 / r, (1 - r) * np.exp(2j * pi * k / 3 + 0.5j * pi)) for k in range(3)]
    circles = list(first)

    def fill(triple: tuple[tuple[float, complex], ...], old: tuple[float, complex], level: int) -> None:
        # the other circle that touches the same three: curvatures and curvature-centres are linear (Vieta)
        k = 2 * sum(c[0] for c in triple) - old[0]
        z = (2 * sum(c[0] * c[1] for c in triple) - old[0] * old[1]) / k
        circles.append((k, z))
        if level > 1:
            for i in range(3):
                rest = tuple(c for j, c in enumerate(triple) if j != i)
                fill((*rest, (k, z)), triple[i], level - 1)

    for i in range(4):
        fill(tuple(c for j, c in enumerate(first) if j != i), first[i], depth)
    return Figure(tuple(circle(z.real, z.imag, abs(1 / k), 73) for k, z in circles if abs(1 / k) > 0.02), "line")


def graph(points: np.ndarray, edges: Sequence[tuple[int, int]]) -> Figure:
    """Straight edges between points."""
    return Figure(tuple(points[[a, b]] for a, b in edges), "line")


def mystic_rose(n: int = 12) -> Figure:
    """All chords between n points of a circle."""
    return graph(_ring(n), [(a, b) for a in range(n) for b in range(a)])


def petersen() -> Figure:
    """A pentagon around a pentagram, joined by five spokes."""
    points = np.concatenate([_ring(5), 0.48 * _ring(5)])
    rim = [(i, (i + 1) % 5) for i in range(5)]
    inner = [(5 + i, 5 + (i + 2) % 5) for i in range(5)]
    return graph(points, rim + inner + [(i, 5 + i) for i in range(5)])


def heawood() -> Figure:
    """A 14-gon with a chord from each even corner to the fifth next."""
    return graph(_ring(14), [(i, (i + 1) % 14) for i in range(14)] + [(i, (i + 5) % 14) for i in range(0, 14, 2)])


def moser_spindle() -> Figure:
    """Two rhombi of unit triangles that share a corner, turned until their far corners are at distance 1."""
    half = np.arcsin(1 / (2 * sqrt(3)))
    points, edges = [0j], []
    for k, turn in enumerate((half, -half)):
        axis = np.exp(1j * (turn - pi / 2))
        points += [axis * np.exp(1j * pi / 6), axis * np.exp(-1j * pi / 6), axis * sqrt(3)]
        a, b, c = 3 * k + 1, 3 * k + 2, 3 * k + 3
        edges += [(0, a), (0, b), (a, b), (a, c), (b, c)]
    return graph(complex_to_points(np.array(points)), [*edges, (3, 6)])


def fano_plane() -> Figure:
    """A triangle, its three medians, and its inscribed circle; circumradius 1."""
    ring = _ring(3)
    middles = (ring + np.roll(ring, -1, 0)) / 2
    medians = tuple(np.stack([ring[i], middles[(i + 1) % 3]]) for i in range(3))
    return Figure((close(ring), *medians, circle(r=0.5)), "line")


def tesseract() -> Figure:
    """The Petrie projection of the 4-cube: 16 vertices on two circles, 32 edges of four directions."""
    steps = np.exp(1j * pi * (np.arange(4) / 4 + 1 / 8))
    signs = np.array([[1 if v >> i & 1 else -1 for i in range(4)] for v in range(16)])
    points = complex_to_points(signs @ steps)
    return graph(points, [(v, v ^ 1 << i) for v in range(16) for i in range(4) if v < v ^ 1 << i])


def brides_chair() -> Figure:
    """Euclid's windmill: the 3-4-5 triangle with the squares on its sides."""
    a, b, c = 0 + 0j, 4 + 0j, 3j
    strokes = [close(complex_to_points(np.array([a, b, c])))]
    for p, q in ((b, a), (a, c), (c, b)):
        side = 1j * (q - p)
        strokes.append(close(complex_to_points(np.array([p, q, q + side, p + side]))))
    return Figure(tuple(strokes), "outline")


def hat() -> Figure:
    """The einstein tile: a 13-gon (14 with its straight angle) of eight kites; short side 1, long side sqrt(3)."""
    grid = [
        (0, 0), (-1, -1), (0, -2), (2, -2), (2, -1), (4, -2), (5, -1),
        (4, 0), (3, 0), (2, 2), (0, 3), (0, 2), (-1, 2),
    ]  # fmt: skip
    return Figure((close([(x + y / 2, y * sqrt(3) / 2) for x, y in grid]),), "outline")


def chair() -> Figure:
    """The L of three unit squares, cut into four half-size copies of itself."""
    rim = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
    inner = [(0.5, 0.5), (1.5, 0.5), (1.5, 1.0)], [(0.5, 0.5), (0.5, 1.5), (1.0, 1.5)], [(1, 0), (1, 0.5)]
    cuts = (*inner, [(0, 1), (0.5, 1)], [(0.5, 1), (1, 1), (1, 0.5)])
    return Figure((close(rim), *(np.array(c, float) for c in cuts)), "line")


BOUWKAMP = (50, 35, 27), (8, 19), (15, 17, 11), (6, 24), (29, 25, 9, 2), (7, 18), (16,), (42,), (4, 37), (33,)


def squared_square() -> Figure:
    """Duijvestijn's square of side 112 cut into 21 squares of different sides."""
    return Figure(tuple(close([(x, -y), (x + s, -y), (x + s, -y - s), (x, -y - s)]) for x, y, s in squares()), "line")


def squares() -> list[tuple[int, int, int]]:
    """Left, top and side of each of the 21 squares: each group of the code fills the highest, leftmost gap."""
    skyline = np.zeros(112, int)
    placed = []
    for group in BOUWKAMP:
        x = int(np.argmin(skyline))
        for side in group:
            y = int(skyline[x])
            placed.append((x, y, side))
            skyline[x : x + side] = y + side
            x += side
    return placed


def _ring(n: int) -> np.ndarray:
    """n corners on the unit circle, the first on top: (n, 2)."""
    return complex_to_points(1j * np.exp(2j * pi * np.arange(n) / n))


def _sealed(stroke: np.ndarray) -> np.ndarray:
    sealed = stroke.copy()
    sealed[-1] = sealed[0]
    return sealed


def _ribbon(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The ring between two closed lines as one polygon with a seam."""
    return np.concatenate([outer, inner[::-1], outer[:1]])
