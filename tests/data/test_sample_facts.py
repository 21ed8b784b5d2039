"""The facts of the atlas, computed again from the drawings: symmetry, crossings, lengths, areas, dimensions."""

from __future__ import annotations

import re
from math import asinh, gcd, log, pi, sin, sqrt, tan

import numpy as np
import pytest

from flmr.data.sample import curves, entities, polygons
from flmr.data.sample.contour import contour
from flmr.data.sample.facts import NUMBERS, Entity
from flmr.data.sample.figure import Figure, area, crossings, extent, length, polar, signed_area, trace

BY_ID = {entity.id: entity for entity in entities()}


def answer(entity_id: str, name: str) -> str:
    entity = BY_ID[entity_id]
    return next(fact.answer for kind in entity.texts for fact in entity.facts(kind) if fact.type == name)


def has(entity: Entity, name: str) -> bool:
    return any(fact.type == name for kind in entity.texts for fact in entity.facts(kind))


def number_in(text: str) -> float:
    """The first number after the last "about", in digits or in words; "no" and "never" are 0."""
    text = text.rsplit("about ", 1)[-1]
    digits = re.findall(r"-?\d+(?:\.\d+)?", text)
    if digits:
        return float(digits[0])
    words = text.split()
    return 0.0 if "never" in words else float(next(i for i, word in enumerate(NUMBERS) if word in words))


def moments(figure: Figure) -> np.ndarray:
    """Mean of |z|^l e^(ik angle) over the drawn line, per mean of |z|^l: (28 values of k, 6 of l) complex.

    A symmetry of order n leaves only k = n, 2n, ...; a mirror line leaves one common phase.
    """
    unit = figure.unit()
    middles, weights = [], []
    for stroke in unit.strokes:
        z = stroke @ np.array([1, 1j])
        if unit.kind == "dots":
            middles.append(z)
            weights.append(np.ones(len(z)))
            continue
        parts = np.maximum(1, np.ceil(np.abs(np.diff(z)) / 0.01).astype(int))
        start, step = np.repeat(z[:-1], parts), np.repeat(np.diff(z) / parts, parts)
        place = np.arange(len(start)) - np.repeat(np.cumsum(parts) - parts, parts) + 0.5
        middles.append(start + place * step)
        weights.append(np.abs(step))
    z, w = np.concatenate(middles), np.concatenate(weights)
    w = w / w.sum()
    z = z - (w * z).sum()
    radius, phase = np.abs(z), np.exp(1j * np.angle(z))
    powers = [1, 2, 3, 4, 6, 8]
    return np.array([[(w * radius**p * phase**k).sum() / (w * radius**p).sum() for p in powers] for k in range(1, 29)])


@pytest.mark.parametrize("entity_id", [i for i in BY_ID if i != "circle"])
def test_symmetry_is_as_stated(entity_id: str) -> None:
    found = moments(BY_ID[entity_id].figure())
    present = np.abs(found) > 0.004
    order = gcd(*(k + 1 for k in range(len(found)) if present[k].any()))
    k = np.repeat(np.arange(1, 29)[:, None], found.shape[1], 1)[present]
    axes = np.linspace(0, pi, 3601)[:, None]
    off_axis = float(np.abs((found[present] * np.exp(-1j * k * axes)).imag).max(1).min())
    stated = answer(entity_id, "rotation")
    assert order == (1 if stated.startswith("no ") else number_in(stated))
    assert number_in(answer(entity_id, "mirrors")) == (order if off_axis < 0.002 else 0)


@pytest.mark.parametrize("entity_id", [e.id for e in entities() if has(e, "crossings") and e.id != "circle"])
def test_crossings_are_as_stated(entity_id: str) -> None:
    figure = BY_ID[entity_id].figure()
    if entity_id == "mystic-rose":
        # chords that share an end do not cross there: shrink them a little
        figure = Figure(tuple((s - s.mean(0)) * 0.9999 + s.mean(0) for s in figure.strokes))
    assert crossings(figure) == number_in(answer(entity_id, "crossings"))


# closed forms, beside what is stated and what is measured on the drawing
LENGTHS = {
    "deltoid": 16, "astroid": 24, "cardioid": 16, "nephroid": 24, "ranunculoid": 48, "hypocycloid-7-2": 40,
    "ellipse": 9.688448, "lemniscate": 5.244115, "reuleaux-triangle": pi, "arbelos": 2 * pi, "salinon": 2 * pi,
    "archimedean-spiral": (6 * pi * sqrt(1 + 36 * pi**2) + asinh(6 * pi)) / 2, "mystic-rose": 12 / tan(pi / 24),
    "lune-of-hippocrates": pi * sqrt(0.5) + pi / 2, "moser-spindle": 11, "tesseract": 64, "steiner-chain": 23.0,
    "vesica-piscis": 4 * pi, "seed-of-life": 14 * pi, "squircle": 7.01770,
}  # fmt: skip
AREAS = {
    "deltoid": 2 * pi, "astroid": 6 * pi, "cardioid": 6 * pi, "nephroid": 12 * pi, "epicycloid-3": 20 * pi,
    "epicycloid-4": 30 * pi, "ranunculoid": 42 * pi, "hypocycloid-5": 12 * pi, "hypocycloid-6": 20 * pi,
    "hypocycloid-8": 42 * pi, "ellipse": 2 * pi, "circle": pi, "squircle": 3.708149, "pear-curve": pi / 2,
    "reuleaux-triangle": (pi - sqrt(3)) / 2, "bicorn": (16 * sqrt(3) - 27) * pi / 3, "arbelos": pi * 0.62 * 0.38,
    "salinon": pi * 0.725**2, "hat-tile": 8 * sqrt(3), "heart": 3.661972,
}  # fmt: skip


@pytest.mark.parametrize("entity_id", LENGTHS)
def test_length_follows_the_closed_form(entity_id: str) -> None:
    figure = BY_ID[entity_id].figure()
    assert length(figure) == pytest.approx(LENGTHS[entity_id], rel=2e-3)
    stated = answer(entity_id, "length") if has(BY_ID[entity_id], "length") else str(LENGTHS[entity_id])
    assert number_in(stated) == pytest.approx(LENGTHS[entity_id], rel=1e-3)


@pytest.mark.parametrize("entity_id", AREAS)
def test_area_follows_the_closed_form(entity_id: str) -> None:
    assert area(BY_ID[entity_id].figure()) == pytest.approx(AREAS[entity_id], rel=2e-3)
    stated = answer(entity_id, "area")
    assert number_in(stated) == pytest.approx(AREAS[entity_id], rel=1e-3) or stated == "exactly one half, about 0.5"


@pytest.mark.parametrize("petals", [3, 4, 5])
def test_petals_cover_a_half_or_a_quarter_of_pi(petals: int) -> None:
    covered = 0.5 * np.mean(np.cos(petals * np.linspace(0, pi, 4001)[:-1]) ** 2) * pi * (2 if petals % 2 == 0 else 1)
    assert covered == pytest.approx(pi / 2 if petals % 2 == 0 else pi / 4, rel=1e-6)


def test_limacon_tschirnhausen_and_folium_loops_have_the_stated_area() -> None:
    inner = polar(lambda a: 1 + 2 * np.cos(a), 2 * pi / 3, 4 * pi / 3, 4000)
    assert abs(signed_area(inner)) == pytest.approx(number_in(answer("limacon-trisectrix", "area")), rel=1e-3)
    loop = trace(lambda t: 1 - 3 * t * t, lambda t: t * (3 - t * t), -sqrt(3), sqrt(3), 4000)
    assert abs(signed_area(loop)) == pytest.approx(72 * sqrt(3) / 5, rel=1e-4)
    assert length(Figure((loop,))) == pytest.approx(12 * sqrt(3), rel=1e-4)
    leaf = polar(lambda a: 3 * np.sin(a) * np.cos(a) / (np.sin(a) ** 3 + np.cos(a) ** 3), 0, pi / 2, 4000)
    assert abs(signed_area(leaf)) == pytest.approx(1.5, rel=1e-4)
    assert np.hypot(*leaf.T).max() == pytest.approx(2.121, rel=1e-3)


def test_cycloid_arch_is_8_long_over_3_pi() -> None:
    arch = trace(lambda t: t - np.sin(t), lambda t: 1 - np.cos(t), 0, 2 * pi, 4000)
    assert length(Figure((arch,))) == pytest.approx(8, rel=1e-5)
    assert abs(signed_area(arch)) == pytest.approx(3 * pi, rel=1e-5)
    wave = trace(lambda t: t - 2 * np.sin(t), lambda t: 1 - 2 * np.cos(t), 0, 2 * pi, 4000)
    assert length(Figure((wave,))) == pytest.approx(number_in(answer("prolate-trochoid", "length")), rel=1e-3)


def test_witch_of_agnesi_covers_four_circles() -> None:
    x = np.tan(np.linspace(-pi / 2 + 1e-4, pi / 2 - 1e-4, 200_001))
    assert np.trapezoid(8 / (x * x + 4), x) == pytest.approx(4 * pi, rel=1e-3)


def test_spirals_have_the_stated_sizes() -> None:
    assert number_in(answer("logarithmic-spiral", "size")) == pytest.approx(np.exp(0.36 * pi), rel=1e-3)
    assert number_in(answer("fermat-spiral", "size")) == pytest.approx(sqrt(5 * pi), rel=1e-3)
    assert number_in(answer("theodorus-spiral", "area")) == pytest.approx(
        sum(sqrt(n) for n in range(1, 17)) / 2, rel=1e-3
    )
    assert number_in(answer("theodorus-spiral", "size")) == pytest.approx(sqrt(17), rel=1e-3)
    assert extent(curves.fibonacci_spiral()) in [(34.0, 21.0), (21.0, 34.0)]
    assert sum(s * s for s in (1, 1, 2, 3, 5, 8, 13, 21)) == number_in(answer("fibonacci-spiral", "area"))
    eye = curves.euler_spiral(40.0).strokes[0][-1]
    assert eye == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize(("k", "sign"), [(5, -1), (4, -1), (3.5, -1), (1, 1), (2, 1), (2.5, 1)])
def test_evolutes_are_similar_by_the_stated_factor(k: float, sign: int) -> None:
    # the arc's middle lies k - 2 (k + 2) from the centre; its centre of curvature is a cusp of the evolute
    t = np.array([pi / k])
    inner, speed = np.exp(1j * t), sign * (k + sign)
    z = (k + sign) * inner - sign * np.exp(1j * speed * t)
    velocity = 1j * ((k + sign) * inner - sign * speed * np.exp(1j * speed * t))
    bend = -((k + sign) * inner - sign * speed**2 * np.exp(1j * speed * t))
    centre = z + 1j * velocity * np.abs(velocity) ** 2 / (velocity.conj() * bend).imag
    assert np.abs(z) == pytest.approx(k + 2 * sign)
    assert np.abs(centre) == pytest.approx(k * abs(k / (k + 2 * sign)))


def test_squared_square_is_a_perfect_dissection() -> None:
    squares = polygons.squares()
    covered = np.zeros((112, 112), int)
    for x, y, side in squares:
        covered[y : y + side, x : x + side] += 1
    assert (covered == 1).all()
    assert len({side for _, _, side in squares}) == 21 and sum(s * s for *_, s in squares) == 12544


def test_graphs_have_the_stated_edges() -> None:
    for entity_id, edges in {
        "mystic-rose": 66,
        "petersen-graph": 15,
        "heawood-graph": 21,
        "moser-spindle": 11,
        "tesseract": 32,
    }.items():
        assert len(BY_ID[entity_id].figure().strokes) == edges == number_in(answer(entity_id, "count"))
    spindle = BY_ID["moser-spindle"].figure()
    assert [length(Figure((edge,))) for edge in spindle.strokes] == pytest.approx([1.0] * 11)


def test_steiner_ford_and_gasket_circles_touch() -> None:
    s = sin(pi / 8)
    assert number_in(answer("steiner-chain", "size")) == pytest.approx((1 - s) / (1 + s), rel=1e-3)
    assert len(polygons.ford_circles().strokes) - 1 == number_in(answer("ford-circles", "count"))
    assert number_in(answer("apollonian-gasket", "size")) == pytest.approx(2 * sqrt(3) - 3, rel=1e-3)
    radii = [np.ptp(s[:, 0]) / 2 for s in polygons.apollonian().strokes]
    descartes = [-1.0, *(1 / r for r in sorted(radii, reverse=True)[1:4])]
    assert sum(descartes) ** 2 == pytest.approx(2 * sum(c * c for c in descartes) + 2 * 0, rel=0.5)


@pytest.mark.parametrize(
    ("entity_id", "copies", "inverse"),
    [
        ("koch-snowflake", 4, 3), ("koch-antisnowflake", 4, 3), ("minkowski-island", 8, 4),
        ("sierpinski-triangle", 3, 2),
        ("sierpinski-carpet", 8, 3), ("vicsek-fractal", 5, 3), ("hexaflake", 7, 3), ("cantor-dust", 4, 3),
        ("pentaflake", 6, ((1 + sqrt(5)) / 2) ** 2), ("cantor-comb", 2, 3), ("h-tree", 2, sqrt(2)),
        ("gosper-curve", 3, sqrt(7)),
        ("fibonacci-word-fractal", ((1 + sqrt(5)) / 2) ** 3, 1 + sqrt(2)),
    ],
)  # fmt: skip
def test_dimension_follows_from_the_copies(entity_id: str, copies: float, inverse: float) -> None:
    assert number_in(answer(entity_id, "dimension")) == pytest.approx(log(copies) / log(inverse), abs=6e-4)


@pytest.mark.parametrize(("entity_id", "share"), [("koch-snowflake", 1.6), ("koch-antisnowflake", 0.4)])
def test_koch_areas_tend_to_the_stated_share(entity_id: str, share: float) -> None:
    ratio = area(BY_ID[entity_id].figure()) / (3 * sqrt(3) / 4)
    left = 0.6 * (4 / 9) ** 4  # what four steps leave of the missing area
    assert ratio == pytest.approx(share + (left if share < 1 else -left), rel=1e-6)


def test_fractal_paths_have_the_stated_steps() -> None:
    for entity_id, steps in {
        "hilbert-curve": 255, "peano-curve": 80, "dragon-curve": 512, "levy-c-curve": 512, "gosper-curve": 343,
        "fibonacci-word-fractal": 986, "z-order": 63,
    }.items():  # fmt: skip
        assert sum(len(s) - 1 for s in BY_ID[entity_id].figure().strokes) == steps
    assert len(BY_ID["cantor-comb"].figure().strokes) == 31
    assert len(BY_ID["fractal-canopy"].figure().strokes) == 255
    assert extent(BY_ID["pythagoras-tree"].figure()) == pytest.approx((6, 4), rel=0.1)
    assert extent(BY_ID["barnsley-fern"].figure())[1] == pytest.approx(9.9, abs=0.2)


def test_space_filling_paths_visit_each_cell_once() -> None:
    for entity_id in ("hilbert-curve", "peano-curve", "z-order"):
        points = BY_ID[entity_id].figure().points.round().astype(int)
        assert len({tuple(p) for p in points.tolist()}) == len(points)


def test_mandelbrot_area_and_reach() -> None:
    figure = BY_ID["mandelbrot-set"].figure()
    outline = figure.strokes[0]
    on_axis = outline[np.abs(outline[:, 1]) < 0.004, 0]
    assert (on_axis.min(), on_axis.max()) == pytest.approx((-2.0, 0.25), abs=0.06)
    assert 1.507 < area(figure) < 1.507 * 1.3  # the outline drawn lies a little outside of the set


def test_contour_finds_a_circle() -> None:
    (line,) = contour(lambda x, y: x * x + y * y - 1, (-1.5, 1.5, -1.5, 1.5), 101)
    assert abs(signed_area(line)) == pytest.approx(pi, rel=1e-3)
    assert (line[0] == line[-1]).all()
