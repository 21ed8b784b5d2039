"""Fractals as figures, drawn to the depth that a small picture can show.

Knows rules of replacement and of similarity.  Knows no facts about dimensions and no drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np

from flmr.data.sample.contour import contour
from flmr.data.sample.figure import Figure, close, complex_to_points


def turtle(program: str, angle_deg: float, start: complex = 1 + 0j) -> np.ndarray:
    """The path of a turtle: letters F, G go a step, + and - turn, others do nothing: complex points."""
    turn = np.exp(1j * np.radians(angle_deg))
    here, heading, path = 0j, start, [0j]
    for letter in program:
        if letter in "FG":
            here += heading
            path.append(here)
        elif letter == "+":
            heading *= turn
        elif letter == "-":
            heading /= turn
    return np.array(path)


def rewrite(axiom: str, rules: dict[str, str], times: int) -> str:
    """Replace every letter by its rule, several times over (a Lindenmayer system)."""
    for _ in range(times):
        axiom = "".join(rules.get(letter, letter) for letter in axiom)
    return axiom


def lindenmayer(axiom: str, rules: dict[str, str], times: int, angle_deg: float, closed: bool = False) -> Figure:
    """The curve that a Lindenmayer system draws."""
    path = turtle(rewrite(axiom, rules, times), angle_deg)
    if closed:
        path[-1] = path[0]
    return Figure((complex_to_points(path),), "outline" if closed else "line")


def pieces(seed: np.ndarray, maps: Sequence[tuple[complex, complex]], times: int) -> Figure:
    """Copies of a closed polygon under all products of the maps z -> a z + b: filled pieces."""
    copies = [seed]
    for _ in range(times):
        copies = [a * c + b for c in copies for a, b in maps]
    return Figure(tuple(close(complex_to_points(c)) for c in copies), "solid")


def koch_snowflake() -> Figure:
    """Every edge of a triangle is replaced by four thirds with a bump outside, four times."""
    return _koch(1)


def koch_antisnowflake() -> Figure:
    """The same with the bumps inside."""
    return _koch(-1)


def _koch(side: int, times: int = 4) -> Figure:
    z = np.array([1j * np.exp(2j * pi * k / 3) for k in (0, 1, 2, 0)])
    for _ in range(times):
        step = np.diff(z) / 3
        tip = z[:-1] + step + step * np.exp(-1j * side * pi / 3)
        parts = np.stack([z[:-1], z[:-1] + step, tip, z[:-1] + 2 * step], 1).ravel()
        z = np.append(parts, z[-1])
    return Figure((complex_to_points(z),), "outline")


def quadratic_island(times: int = 2) -> Figure:
    """Minkowski's island: every edge of a square is replaced by eight quarters."""
    return _replace_edges(_square_path(), np.cumsum([1, 1j, 1, -1j, -1j, 1, 1j])[:7] / 4, times)


def _square_path() -> np.ndarray:
    return np.array([0, 1, 1 + 1j, 1j, 0])


def _replace_edges(z: np.ndarray, inner: np.ndarray, times: int) -> Figure:
    """Replace every edge by the path 0, inner..., 1 scaled onto it."""
    for _ in range(times):
        parts = z[:-1, None] + np.diff(z)[:, None] * np.concatenate([[0], inner])
        z = np.append(parts.ravel(), z[-1])
    z[-1] = z[0]
    return Figure((complex_to_points(z),), "outline")


def sierpinski_triangle(times: int = 4) -> Figure:
    corners = np.array([1j * np.exp(2j * pi * k / 3) for k in range(3)])
    return pieces(corners, [(0.5, c / 2) for c in corners], times)


def sierpinski_carpet(times: int = 3) -> Figure:
    return _squares(3, [(x, y) for x in range(3) for y in range(3) if (x, y) != (1, 1)], times)


def vicsek(times: int = 3) -> Figure:
    return _squares(3, [(1, 0), (0, 1), (1, 1), (2, 1), (1, 2)], times)


def cantor_dust(times: int = 3) -> Figure:
    return _squares(3, [(0, 0), (0, 2), (2, 0), (2, 2)], times)


def _squares(base: int, cells: list[tuple[int, int]], times: int) -> Figure:
    seed = np.array([0, 1, 1 + 1j, 1j])
    return pieces(seed, [(1 / base, (x + 1j * y) / base) for x, y in cells], times)


def cantor_comb(rows: int = 5) -> Figure:
    """The Cantor set's stages under each other, as bars."""
    bars, spans = [], [(0.0, 1.0)]
    for row in range(rows):
        top = -0.2 * row
        bars += [close([(a, top), (b, top), (b, top - 0.11), (a, top - 0.11)]) for a, b in spans]
        spans = [s for a, b in spans for s in ((a, a + (b - a) / 3), (b - (b - a) / 3, b))]
    return Figure(tuple(bars), "solid")


def hexaflake(times: int = 3) -> Figure:
    ring = np.array([np.exp(1j * pi * k / 3) for k in range(6)])
    return pieces(ring, [(1 / 3, 2 * c / 3) for c in [*ring, 0]], times)


def pentaflake(times: int = 3) -> Figure:
    ring = np.array([1j * np.exp(2j * pi * k / 5) for k in range(5)])
    s = 1 / (1 + (1 + sqrt(5)) / 2)
    return pieces(ring, [(s, (1 - s) * c) for c in ring] + [(-s, 0j)], times)


def t_square(times: int = 5) -> Figure:
    """A square, with a half-size square centred on each corner, and so on."""
    squares, found = [(0j, 1.0)], []
    for _ in range(times):
        found += squares
        squares = [(c + s * d, s / 2) for c, s in squares for d in (1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j)]
    unique = sorted({(round(c.real, 6), round(c.imag, 6), s) for c, s in found})
    corners = np.array([-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j])
    return Figure(tuple(close(complex_to_points(x + 1j * y + s * corners)) for x, y, s in unique), "solid")


def pythagoras_tree(times: int = 8, angle_deg: float = 45.0) -> Figure:
    """A square that carries a right triangle, whose legs carry squares, and so on."""
    found, squares = [], [(0j, 1 + 0j)]
    lean = np.radians(angle_deg)
    for _ in range(times):
        grown = []
        for corner, side in squares:
            square = corner + side * np.array([0, 1, 1 + 1j, 1j])
            found.append(close(complex_to_points(square)))
            left = side * np.cos(lean) * np.exp(1j * lean)
            grown += [(corner + 1j * side, left), (corner + 1j * side + left, side - left)]
        squares = grown
    return Figure(tuple(found), "solid")


def branches(times: int, spread_deg: float, ratio: float, symmetric_h: bool = False) -> Figure:
    """A trunk that forks in two, each branch `ratio` as long and turned by the spread to either side."""
    turn = np.exp(1j * np.radians(spread_deg))
    tips = [(0j, 1j)] + ([(0j, -1j)] if symmetric_h else [])
    strokes = []
    for _ in range(times):
        grown = []
        for foot, limb in tips:
            strokes.append(complex_to_points(np.array([foot, foot + limb])))
            grown += [(foot + limb, limb * ratio * turn), (foot + limb, limb * ratio / turn)]
        tips = grown
    return Figure(tuple(strokes), "line")


def fibonacci_word(times: int = 15) -> Figure:
    """The Fibonacci word drawn: a step for each letter; after a 0, turn left at even places and right at odd ones."""
    shorter, word = "1", "0"
    for _ in range(times - 1):
        shorter, word = word, word + shorter
    word = word[:-1]  # without its last letter the path is symmetric
    here, heading, path = 0j, 1 + 0j, [0j]
    for place, letter in enumerate(word, start=1):
        here += heading
        path.append(here)
        if letter == "0":
            heading *= 1j if place % 2 == 0 else -1j
    return Figure((complex_to_points(np.array(path)),), "line")


def barnsley_fern(num: int = 2400, seed: int = 7) -> Figure:
    """Barnsley's four affine maps, played as a chaos game."""
    maps = np.array([
        [0.0, 0.0, 0.0, 0.16, 0.0, 0.0], [0.85, 0.04, -0.04, 0.85, 0.0, 1.6],
        [0.2, -0.26, 0.23, 0.22, 0.0, 1.6], [-0.15, 0.28, 0.26, 0.24, 0.0, 0.44],
    ])  # fmt: skip
    choices = np.random.default_rng(seed).choice(4, num, p=[0.01, 0.85, 0.07, 0.07])
    x = y = 0.0
    points = np.empty((num, 2))
    for i, choice in enumerate(choices):
        a, b, c, d, e, f = maps[choice]
        x, y = a * x + b * y + e, c * x + d * y + f
        points[i] = x, y
    return Figure((points[20:],), "dots")


def henon_attractor(num: int = 3000) -> Figure:
    """x' = 1 - 1.4 x² + y, y' = 0.3 x; drawn with y stretched to 3.3 times."""
    x = y = 0.1
    points = np.empty((num, 2))
    for i in range(num):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        points[i] = x, y * 3.3
    return Figure((points[50:],), "dots")


def logistic_fork(columns: int = 150, kept: int = 22) -> Figure:
    """The values that x' = r x (1 - x) settles on, for r from 2.8 to 4."""
    r = np.linspace(2.8, 4.0, columns)
    x = np.full(columns, 0.5)
    for _ in range(300):
        x = r * x * (1 - x)
    rows = []
    for _ in range(kept):
        x = r * x * (1 - x)
        rows.append(np.stack([(r - 2.8) / 1.2, x], 1))
    return Figure((np.concatenate(rows),), "dots")


def devils_staircase(times: int = 6) -> Figure:
    """Cantor's function: flat on every removed third."""
    x, y = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    for _ in range(times):
        x = np.concatenate([x / 3, 2 / 3 + x / 3])
        y = np.concatenate([y / 2, 0.5 + y / 2])
    return Figure((np.stack([x, y], 1),), "line")


def escape_outline(c: complex | None, box: tuple[float, float, float, float], times: int, num: int = 301) -> Figure:
    """The set that stays bounded under z -> z² + c, by a level line of the escape potential; c=None: Mandelbrot's."""

    def potential(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        z = x + 1j * y
        constant = z if c is None else np.full_like(z, c)
        value = np.full(z.shape, 0.0)
        alive = np.ones(z.shape, bool)
        for i in range(1, times + 8):
            z = np.where(alive, z * z + constant, z)
            out = alive & (np.abs(z) > 1e3)
            value[out] = np.log(np.abs(z[out])) / 2.0**i
            alive &= ~out
        return np.asarray(np.log2(np.maximum(value, 2.0 ** (-times - 8))) + times)

    lines = [s for s in contour(potential, box, num) if len(s) > 40]
    return Figure(tuple(lines), "solid")


def peano_curve() -> Figure:
    rules = {"X": "XFYFX+F+YFXFY-F-XFYFX", "Y": "YFXFY-F-XFYFX+F+YFXFY"}
    return lindenmayer("X", rules, 2, 90)


def hilbert_curve(times: int = 4) -> Figure:
    return lindenmayer("X", {"X": "+YF-XFX-FY+", "Y": "-XF+YFY+FX-"}, times, 90)


def sierpinski_curve(times: int = 3) -> Figure:
    """The closed Sierpiński curve."""
    return lindenmayer("F--XF--F--XF", {"X": "XF+G+XF--F--XF+G+X"}, times, 45, closed=True)


def gosper_curve(times: int = 3) -> Figure:
    return lindenmayer("F", {"F": "F-G--G+F++FF+G-", "G": "+F-GG--G-F++F+G"}, times, 60)


def dragon_curve(times: int = 9) -> Figure:
    return lindenmayer("FX", {"X": "X+YF+", "Y": "-FX-Y"}, times, 90)


def levy_curve(times: int = 9) -> Figure:
    return lindenmayer("F", {"F": "+F--F+"}, times, 45)


def z_order(bits: int = 3) -> Figure:
    """The grid points of a square, in the order of their interleaved binary coordinates."""
    n = np.arange(4**bits)
    x = sum((n >> 2 * i & 1) << i for i in range(bits))
    y = sum((n >> 2 * i + 1 & 1) << i for i in range(bits))
    return Figure((np.stack([np.asarray(x, float), -np.asarray(y, float)], 1),), "line")
