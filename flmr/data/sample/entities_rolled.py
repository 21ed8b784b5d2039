"""Facts of the curves of circles that roll and pens that swing: cycloids, trochoids, roses, Lissajous figures.

Knows their closed forms; every number in a text is computed from the parameters.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd, pi

from flmr.data.sample import curves
from flmr.data.sample.facts import Entity, many, measure, number, symmetry, word

# id, name, p, q: p cusps, q turns of the centre
HYPOCYCLOIDS = (
    ("deltoid", "deltoid", 3, 1),
    ("astroid", "astroid", 4, 1),
    ("hypocycloid-5", "hypocycloid with five cusps", 5, 1),
    ("hypocycloid-6", "hypocycloid with six cusps", 6, 1),
    ("hypocycloid-8", "hypocycloid with eight cusps", 8, 1),
    ("hypocycloid-7-2", "seven-pointed star hypocycloid", 7, 2),
)
EPICYCLOIDS = (
    ("cardioid", "cardioid", 1, 1),
    ("nephroid", "nephroid", 2, 1),
    ("epicycloid-3", "epicycloid with three cusps", 3, 1),
    ("epicycloid-4", "epicycloid with four cusps", 4, 1),
    ("ranunculoid", "ranunculoid", 5, 1),
    ("epicycloid-3-2", "three-cusped double epicycloid", 3, 2),
    ("epicycloid-5-2", "five-cusped double epicycloid", 5, 2),
)
# id, name, n, d: r = cos(n/d angle)
ROSES = (
    ("quadrifolium", "quadrifolium", 2, 1),
    ("trifolium", "regular trifolium", 3, 1),
    ("rose-8", "rose with eight petals", 4, 1),
    ("rose-5", "rose with five petals", 5, 1),
    ("rose-12", "rose with twelve petals", 6, 1),
    ("duerer-folium", "Dürer folium", 1, 2),
    ("rose-2-3", "rose of two thirds", 2, 3),
    ("rose-3-2", "rose of three halves", 3, 2),
    ("rose-4-3", "rose of four thirds", 4, 3),
    ("rose-5-2", "rose of five halves", 5, 2),
    ("rose-5-3", "rose of five thirds", 5, 3),
    ("rose-3-4", "rose of three quarters", 3, 4),
)
# id, name, fixed radius, rolling radius, pen arm, crossings
HYPOTROCHOIDS = (
    ("hypotrochoid-4", "hypotrochoid with four loops", 4, 1, 2.0, 4),
    ("hypotrochoid-6", "hypotrochoid with six loops", 6, 1, 3.0, 6),
    ("hypotrochoid-7", "hypotrochoid of seven to two", 7, 2, 3.2, 14),
    ("hypotrochoid-8", "hypotrochoid of eight to three", 8, 3, 2.0, 16),
    ("hypotrochoid-10", "hypotrochoid of ten to three", 10, 3, 4.5, 30),
    ("hypotrochoid-12", "hypotrochoid of twelve to five", 12, 5, 4.0, 48),
)
EPITROCHOIDS = (
    ("epitrochoid-2", "epitrochoid with two loops", 2, 1, 2.0, 2),
    ("epitrochoid-3", "epitrochoid with three loops", 3, 1, 2.2, 3),
    ("epitrochoid-5", "epitrochoid with five loops", 5, 1, 2.5, 5),
    ("epitrochoid-8", "epitrochoid with eight loops", 8, 1, 2.5, 8),
    ("epitrochoid-7-3", "epitrochoid of seven to three", 7, 3, 5.0, 21),
    ("epitrochoid-12-7", "epitrochoid of twelve to seven", 12, 7, 9.0, 84),
)
# id, name, a, b, musical interval
LISSAJOUS = (
    ("lissajous-1-3", "Lissajous figure one to three", 1, 3, "an octave and a fifth"),
    ("lissajous-3-2", "Lissajous figure three to two", 3, 2, "a perfect fifth"),
    ("lissajous-3-4", "Lissajous figure three to four", 3, 4, "a perfect fourth"),
    ("lissajous-5-2", "Lissajous figure five to two", 5, 2, "a major tenth"),
    ("lissajous-5-4", "Lissajous figure five to four", 5, 4, "a major third"),
)

STORIES = {
    "deltoid": "The deltoid is named after {the Greek capital letter delta|name}. {Leonhard Euler|person} met it in "
    "1745 while studying an optical problem, and Jakob Steiner examined it in 1856. The Simson lines of any triangle "
    "have {a deltoid as their envelope|kin}.",
    "astroid": "The word astroid comes from {the Greek word for star|name}. The curve is the envelope of "
    "{a ladder sliding down a wall|place}: a rod of fixed length whose ends glide along two perpendicular lines "
    "always touches it. Its evolute is {an astroid twice as large|kin}.",
    "cardioid": "Cardioid means {heart-shaped|name}; {Johann Castillon|person} gave the curve this name in 1741. It is "
    "the caustic of a circle lit from a point on its rim, names {a type of microphone|place}, and bounds the "
    "largest region of {the Mandelbrot set|kin}.",
    "nephroid": "Nephroid means {kidney-shaped|name}; {Richard Proctor|person} used the name in 1878. Sunlight "
    "reflected inside {a round cup|place} gathers along half of this curve, because it is {the caustic of a circle "
    "in parallel light|kin}, as Christiaan Huygens showed.",
    "ranunculoid": "The ranunculoid is named after {Ranunculus, the genus of the buttercups|name}, for its five "
    "rounded lobes look like petals. Its evolute is {a copy five sevenths as large|kin}. Arcs of epicycloids also "
    "shape {the teeth of clockwork gears|place}.",
    "quadrifolium": "The quadrifolium is {a four-leaved clover|name} by its Latin name. It is one of the rhodonea "
    "curves that the Italian {Guido Grandi|person} described in the 1720s, and it is {the pedal curve of the "
    "astroid|kin} with respect to the centre.",
    "trifolium": "The regular trifolium is {a three-leaved clover|name} by its Latin name. It belongs to the rhodonea "
    "curves described by {Guido Grandi|person} in the 1720s, and it is {the pedal curve of the deltoid|kin} with "
    "respect to its centre.",
    "duerer-folium": "This folium carries the name of {the artist Albrecht Dürer|name}. Unlike the roses with a whole "
    "number its petals overlap, so that it looks like two rings with two lobes in the middle. It is "
    "{the pedal curve of the nephroid|kin} with respect to the centre.",
}


def entities() -> list[Entity]:
    """All rolled curves."""
    found = [_hypocycloid(*row) for row in HYPOCYCLOIDS] + [_epicycloid(*row) for row in EPICYCLOIDS]
    found += [_rose(*row) for row in ROSES]
    found += [_trochoid(*row, inside=True) for row in HYPOTROCHOIDS]
    found += [_trochoid(*row, inside=False) for row in EPITROCHOIDS]
    return found + [_lissajous(*row) for row in LISSAJOUS]


def _ratio(p: int, q: int) -> str:
    return str(p) if q == 1 else f"{p}/{q}"


def _hypocycloid(key: str, name: str, p: int, q: int) -> Entity:
    k, ratio = Fraction(p, q), _ratio(p, q)
    shape = (
        f"The {name} is {{a hypocycloid|family}}: it is traced by {{a point on a circle that rolls inside another "
        f"circle {ratio} times as large|rule}}. Its cusps point outwards, the arcs between them bend inwards, and it "
        f"closes after the rolling centre has made {many(q, 'turn')}."
    )
    inside = f" It encloses {{{(p - 1) * (p - 2)} pi, about {number((p - 1) * (p - 2) * pi)}|area}}." if q == 1 else ""
    size = (
        f"Give the rolling circle of the {name} radius 1. Then the curve is exactly {{{8 * (p - q)} units "
        f"long|length}}, {word(p)} arcs of {number(8 * (p - q) / p)} each.{inside} Its cusps lie on {{a circle of "
        f"radius {number(p / q)}|size}}, the fixed circle itself."
    )
    evolute = k / (k - 2)
    story = STORIES.get(key) or (
        f"By {{Daniel Bernoulli|person}}'s theorem of double generation the {name} is also drawn by a rolling circle of"
        f" radius {k - 1} in the same fixed circle, if the first has radius 1. {{Its evolute is a similar curve"
        f" {evolute} times as large|kin}}. Such arcs appear in {{cycloidal gear teeth|place}}."
    )
    sym = symmetry(name, p, p, crossings=p * (q - 1), points=many(p, "cusp"))
    return Entity(key, name, lambda: curves.hypocycloid(p, q), _texts(shape, size, sym, story))


def _epicycloid(key: str, name: str, p: int, q: int) -> Entity:
    k, ratio = Fraction(p, q), _ratio(p, q)
    base = "of the same size" if k == 1 else f"{ratio} times as large"
    shape = (
        f"The {name} is {{an epicycloid|family}}: it is traced by {{a point on a circle that rolls around the "
        f"outside of a circle {base}|rule}}. Its arcs bulge outwards between cusps that point to the centre, and it "
        f"closes after the rolling centre has made {many(q, 'turn')}."
    )
    inside = f" It encloses {{{(p + 1) * (p + 2)} pi, about {number((p + 1) * (p + 2) * pi)}|area}}." if q == 1 else ""
    size = (
        f"With a rolling circle of radius 1 the {name} is exactly {{{8 * (p + q)} units long|length}}, that is,"
        f" {number(8 * (p + q) / p)} for each of its arcs.{inside} The farthest points lie on"
        f" {{a circle of radius {number(p / q + 2)}|size}} about the centre of the fixed circle."
    )
    evolute = k / (k + 2)
    story = STORIES.get(key) or (
        f"The theorem of double generation by {{Daniel Bernoulli|person}} says that the {name} is also drawn by a "
        f"circle of radius {k + 1} that rolls with the fixed circle inside it, if the first has radius 1. {{Its "
        f"evolute is a similar curve {evolute} times as large|kin}}. {{Ptolemy's planets|place}} moved on sums of "
        f"circles like these."
    )
    sym = symmetry(name, p, p, crossings=p * (q - 1), points=many(p, "cusp"))
    return Entity(key, name, lambda: curves.epicycloid(p, q), _texts(shape, size, sym, story))


def _rose(key: str, name: str, n: int, d: int) -> Entity:
    petals = n if n % 2 and d % 2 else 2 * n
    figure = curves.rose(n, d)
    times = f"{n}" if d == 1 else f"{n}/{d}"
    turns = Fraction(d, 1) if n % 2 == 0 or d % 2 == 0 else Fraction(d, 2)
    shape = (
        f"The {name} is {{a rose curve, or rhodonea|family}}. In polar coordinates it is {{r equals the cosine of "
        f"{times} times the angle|rule}}. Its {word(petals)} equal petals all pass through the centre, and the pen "
        f"closes the curve when the angle has run through {number(360 * float(turns))} degrees."
    )
    if d == 1:
        inside = "pi / 4, about 0.7854" if petals == n else "pi / 2, about 1.571"
        extra = f"Its petals together cover {{{inside}|area}}, whatever their number, by parity alone."
    else:
        extra = f"The petals overlap, each opening over {number(180 * d / n)} degrees of the angle."
    size = measure(name, "with petals of length 1", figure, extra=extra)
    up, down = n + d, abs(n - d)
    common = gcd(up, down)
    sense = "opposite directions" if n > d else "the same direction"
    pedal = Fraction(2 * n, abs(n - d)) if n != d else Fraction(1)
    roller = "hypocycloid" if n > d else "epicycloid"
    story = STORIES.get(key) or (
        f"{{Guido Grandi|person}} named the rhodonea curves, among them the {name}, after {{the Greek word for "
        f"rose|name}} in the 1720s. Two equal circular motions in {sense} draw it if their speeds are as "
        f"{up // common} to {down // common}. It is {{the central pedal curve of the {roller} of ratio {pedal}|kin}}."
    )
    sym = symmetry(
        name,
        petals,
        petals,
        points=many(petals, "petal"),
        extra="The centre is a point through which every petal runs.",
    )
    return Entity(key, name, lambda: curves.rose(n, d), _texts(shape, size, sym, story))


def _trochoid(key: str, name: str, big: int, small: int, arm: float, crossings: int, *, inside: bool) -> Entity:
    kind = "hypotrochoid" if inside else "epitrochoid"
    make = curves.hypotrochoid if inside else curves.epitrochoid
    where = "inside" if inside else "around the outside of"
    shape = (
        f"The {name} is {{{'a' if inside else 'an'} {kind}|family}}. {{A wheel of radius {small} rolls {where} a "
        f"ring of radius {big}|rule}}, and the pen is fixed to the wheel at distance {number(arm)} from its centre. "
        f"The wheel goes round {many(small, 'time')} before the line closes."
    )
    far = (big - small if inside else big + small) + arm
    near = abs((big - small if inside else big + small) - arm)
    size = measure(
        name,
        f"with radii {big} and {small} and pen distance {number(arm)}",
        make(big, small, arm, small),
        extra=f"The pen stays between {number(near)} and {number(far)} from the centre.",
    )
    other = big - small if inside else big + small
    speed = f"{other} to {small}"
    sense = "opposite directions" if inside else "the same direction"
    story = (
        f"Figures like the {name} became a toy in 1965, when {{Denys Fisher|person}} brought out {{the "
        f"Spirograph|place}} with its toothed rings and wheels. The same line is {{the sum of two circular motions "
        f"in {sense}, with speeds as {speed}|kin}} and radii {number(other)} and {number(arm)}."
    )
    sym = symmetry(name, big, big, crossings=crossings, points=many(big, "outermost point"))
    return Entity(key, name, lambda: make(big, small, arm, small), _texts(shape, size, sym, story))


def _lissajous(key: str, name: str, a: int, b: int, interval: str) -> Entity:
    figure = curves.lissajous(a, b)
    first = "t" if a == 1 else f"{a}t"
    shape = (
        f"The {name} is {{a Lissajous figure|family}}: two oscillations at right angles,"
        f" {{x equals cos {first} and y equals sin {b}t|rule}}. Within its square it touches each upright side"
        f" {many(a, 'time')} and each level side {many(b, 'time')}."
    ).replace("one times", "once")
    size = measure(
        name,
        "with both amplitudes equal to 1",
        figure,
        extra=f"One run through it takes {{{a} swings across and {b} swings up and down|count}}.",
    )
    story = (
        f"{{Jules Antoine Lissajous|person}} showed such figures in 1857 with mirrors on tuning forks, after Nathaniel"
        f" Bowditch had studied them in 1815. The {name} appears on {{an oscilloscope|place}} when its two tones form"
        f" {{{interval}|kin}}."
    )
    sym = symmetry(name, 2, 2, crossings=2 * a * b - a - b)
    return Entity(key, name, lambda: curves.lissajous(a, b), _texts(shape, size, sym, story))


def _texts(shape: str, size: str, sym: str, story: str) -> dict:  # type: ignore[type-arg]
    return {"shape": shape, "measure": size, "symmetry": sym, "story": story}
