"""Facts of the classical plane curves: quartics, cubics, spirals, conics, knots.

Knows one curve a block: its drawing, its symmetries and four marked texts.  Sums and areas are recomputed in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np

from flmr.data.sample import curves, polygons
from flmr.data.sample.facts import Entity, measure, symmetry
from flmr.data.sample.figure import Figure, polar, trace

cos, sin, exp = np.cos, np.sin, np.exp


def one(
    key: str,
    name: str,
    figure: Callable[[], Figure],
    order: int,
    mirrors: int,
    *,
    shape: str,
    story: str,
    size: str = "",
    canon: str = "",
    closed: str = "",
    extra: str = "",
    crossings: int | None = None,
    points: str = "",
    also: str = "",
    sym: str = "",
) -> Entity:
    """An entity from its marked texts; where size is empty the measure text is computed from the figure."""
    size = size or measure(name, canon, figure(), closed=closed, extra=extra)
    sym = sym or symmetry(name, order, mirrors, crossings=crossings, points=points, extra=also)
    return Entity(key, name, figure, {"shape": shape, "measure": size, "symmetry": sym, "story": story})


def entities() -> list[Entity]:
    """All classical curves."""
    return [*_ovals(), *_quartics(), *_cubics(), *_spirals(), *_transcendental(), *_knots()]


def _ovals() -> list[Entity]:
    return [
        one(
            "circle", "circle", curves.disc, 0, 0,
            sym="Turned by any angle about its centre, the circle falls onto itself: its rotational symmetry is {of "
            "infinite order|rotation}. Every line through the centre is one of its {infinitely many mirror "
            "lines|mirrors}. Its line {never crosses itself|crossings} and has no corner.",
            shape="The circle is {a conic section|family}: the set of {all points at one distance from a centre|rule}. "
            "Its curvature is the same everywhere, and every line through the centre meets it at a right angle.",
            size="A circle of radius 1 is {2 pi, about 6.283, long|length}. The disc inside has the area {pi, about "
            "3.142|area}, more than any other figure of the same perimeter, and fits into a box of {2 by 2|size}.",
            story="{Ferdinand von Lindemann|person} proved in 1882 that pi is transcendental, so {no square of equal "
            "area can be constructed with ruler and compasses|kin}. The name comes from {a Latin word for ring|name}. "
            "Ripples from {a stone dropped into still water|place} spread in this shape.",
        ),
        one(
            "ellipse", "ellipse of two to one", lambda: curves.loop(lambda t: 2 * cos(t), lambda t: sin(t)), 2, 2,
            canon="with half axes 2 and 1", closed="2 pi", crossings=0,
            extra="Its eccentricity is half the square root of 3.",
            shape="The ellipse of two to one is {a conic section|family}: {the distances to two foci always add up "
            "to the long axis|rule}. Here the long axis is twice the short one. A circle seen at a slant looks like "
            "it.",
            story="{Johannes Kepler|person} found in 1609 that {the planets|place} move on ellipses with the sun in "
            "one focus. The Greek name means {falling short|name}, and was given by Apollonius. A ray from one focus "
            "{is reflected into the other focus|kin}.",
        ),
        one(
            "squircle", "squircle", curves.squircle, 4, 4, crossings=0,
            canon="with half width 1", closed="?", extra="A circle of that width has only 3.142.",
            shape="The squircle is {a superellipse|family} with the equation {x to the fourth plus y to the fourth "
            "equals 1|rule}. Its flat sides pass into rounded corners without any jump of the curvature.",
            story="Its name blends {the words square and circle|name}. Superellipses were studied by {Gabriel "
            "Lamé|person} in 1818 and made popular by the designer Piet Hein. The outline appears in {plates and "
            "phone icons|place}; it lies {between the circle and the square|kin}.",
        ),
        one(
            "lemniscate", "lemniscate of Bernoulli", curves.bernoulli_lemniscate, 2, 2, crossings=1, points="two loops",
            size="With half width 1 the lemniscate of Bernoulli is {about 5.244 long|length}, a number known as the "
            "lemniscate constant. Its two loops together enclose {exactly 1 unit|area} of area, and it fits "
            "into a box of {2 by 0.7071|size}.",
            shape="The lemniscate of Bernoulli is {a quartic and a Cassini curve|family}: {the product of the "
            "distances to two points equals the square of half their distance|rule}. It runs through the middle "
            "between them.",
            story="{Jakob Bernoulli|person} described it in 1694 and named it after {the Latin word for a hanging "
            "ribbon|name}. The curve looks like {the sign for infinity|place}. Inversion in a circle "
            "about its middle {turns it into a rectangular hyperbola|kin}.",
        ),
        one(
            "cassini-oval", "single Cassini oval", lambda: curves.cassini(1.04), 2, 2, crossings=0,
            canon="with foci at distance 2 and product 1.04 squared", closed="?",
            shape="The single Cassini oval is {a quartic|family}: {the product of the distances to two foci is a "
            "little more than the square of half their distance|rule}. It stays in one piece with a narrow waist.",
            story="{Giovanni Domenico Cassini|person} proposed such ovals in 1680 as {orbits of the heavenly "
            "bodies|place}. The waisted form is likened to a peanut. Every Cassini oval is also {a plane section of "
            "a torus, cut parallel to the axis|kin}.",
        ),
        one(
            "cassini-pair", "Cassini pair", lambda: curves.cassini(0.96),
            2, 2, crossings=0, points="two separate ovals",
            canon="with foci at distance 2 and product 0.96 squared", closed="?",
            shape="The Cassini pair is {a quartic in two pieces|family}: {the product of the distances to two foci "
            "is a little less than the square of half their distance|rule}. Each focus has its own egg.",
            story="{Giovanni Domenico Cassini|person} studied these curves in 1680. The egg-like halves are the two "
            "parts into which the waisted oval breaks when the product shrinks. They are {level lines of the product "
            "of two distances|kin}, and so map the potential around {two equal parallel charged wires|place}.",
        ),
        one(
            "reuleaux-triangle", "Reuleaux triangle", polygons.reuleaux, 3, 3, crossings=0, points="three corners",
            canon="of width 1", closed="(pi minus the square root of 3) / 2",
            extra="Every curve of width 1 has the same perimeter, pi.",
            shape="The Reuleaux triangle is {a curve of constant width|family}, made of {three arcs, each centred on "
            "the opposite corner|rule} of an equilateral triangle. Two parallel lines that touch it are always "
            "equally far apart.",
            story="It is named after the engineer {Franz Reuleaux|person}. Of all figures of the same constant width "
            "it has {the smallest area|kin}, as Blaschke and Lebesgue proved. It serves in {drills that cut nearly "
            "square holes|place} and as a guitar pick.",
        ),
        one(
            "hyperbola", "rectangular hyperbola",
            curves.rectangular_hyperbola,
            2, 2, crossings=0, points="two branches",
            size="With vertices at distance {2 from each other|size}, the rectangular hyperbola has the eccentricity "
            "square root of 2, about 1.414. Both branches run to infinity and come ever closer to two perpendicular "
            "lines.",
            shape="The rectangular hyperbola is {a conic section|family}, {x squared minus y squared equals 1|rule}: "
            "the distances to two foci differ by a constant. Its asymptotes meet at a right angle.",
            story="Its Greek name means {excess|name} and comes from {Apollonius of Perga|person}. It pictures {the "
            "law of Boyle|place}, by which pressure times volume is constant. Its inverse in a circle about the "
            "centre is {the lemniscate of Bernoulli|kin}.",
        ),
    ]  # fmt: skip


def _quartics() -> list[Entity]:
    return [
        one(
            "limacon-trisectrix", "limaçon trisectrix",
            lambda: curves.loop(lambda t: (1 + 2 * cos(t)) * cos(t), lambda t: (1 + 2 * cos(t)) * sin(t)),
            1, 1, crossings=1,
            canon="given by r = 1 + 2 cos of the angle", extra="Its small inner loop encloses {about 0.5435|area}.",
            shape="The limaçon trisectrix is {a limaçon, and so an epitrochoid|family}: {r equals 1 plus 2 times the "
            "cosine of the angle|rule}. A small loop lies inside the large one; both begin at the node.",
            story="Limaçon means {snail|name} in French. The family is named after {Étienne Pascal|person}, "
            "father of Blaise, though Albrecht Dürer drew one in 1525. With this curve {any angle can be divided into "
            "three equal parts|place}. It is {the inverse of a hyperbola|kin} at a focus.",
        ),
        one(
            "bicorn", "bicorn",
            lambda: curves.loop(lambda t: sin(t), lambda t: cos(t) ** 2 * (2 + cos(t)) / (3 + sin(t) ** 2)), 1, 1,
            canon="of half width 1", closed="(16 root 3 minus 27) pi / 3", crossings=0, points="two cusps",
            shape="The bicorn is {a quartic|family} with the equation {y² (1 - x²) = (x² + 2y - 1)²|rule}. Two arcs, "
            "the upper more strongly bent than the lower, meet in sharp horns at left and right.",
            story="Bicorn means {two-horned|name}; it is also called the cocked hat, after {Napoleon's kind of "
            "hat|place}. {James Joseph Sylvester|person} studied it in 1864 and Arthur Cayley in 1867. Both wrote "
            "about its horns, which are cusps.",
        ),
        one(
            "devils-curve", "devil's curve",
            lambda: curves.implicit(lambda x, y: y**4 - 0.9 * y * y - x**4 + x * x, (-1.7, 1.7, -1.7, 1.7), False),
            2, 2,
            points="three pieces",
            size="With the coefficients 0.9 and 1 the devil's curve passes its middle at height {0.9487 above and "
            "below|size} the centre, and its outer branches cross the axis 2 units apart. The diagonals are "
            "asymptotes.",
            shape="The devil's curve is {a quartic|family}, here {y⁴ - 0.9 y² = x⁴ - x²|rule}. An hourglass stands "
            "in the middle, and a branch on each side runs off to infinity.",
            story="{Gabriel Cramer|person} studied it in 1750 and Lacroix in 1810. A related form with other "
            "coefficients is called {the electric motor curve|name}. For equal coefficients it falls apart into {two "
            "diagonals and a circle|kin}.",
        ),
        one(
            "cruciform", "cruciform curve",
            curves.cruciform,
            4, 4, crossings=0, points="four branches",
            size="With unit radius the corners of the cruciform curve come nearest to the centre at {2 units|size}. "
            "Its four asymptotes outline a square of side 2, whose area is {4|area}.",
            shape="The cruciform curve is {a quartic|family}: {1/x² + 1/y² = 1|rule}. Four bent branches, one in each "
            "quadrant, leave a cross-shaped street free between them.",
            story="Cruciform is Latin for {cross-shaped|name}. One gets the curve by {replacing both coordinates of "
            "a circle by their reciprocals|kin}. Its outline is that of {a crossing of two roads|place} with rounded "
            "corners.",
        ),
        one(
            "pear-curve", "teardrop quartic",
            lambda: curves.loop(lambda t: 1 + sin(t), lambda t: 0.5 * cos(t) * (1 + sin(t))), 1, 1,
            canon="of length 2 and half height parameter one half", closed="pi / 2", crossings=0, points="one cusp",
            shape="The teardrop quartic is {a quartic|family}, also called piriform: {x = 1 + sin t, y = half of cos "
            "t times (1 + sin t)|rule}. It is round at one end and runs into a point at the other.",
            story="Piriform means {pear-shaped|name}. The curve was studied by {Gaston de Longchamps|person} in "
            "1886. Turned about its axis it gives {the body of a drop|place}. Its area equals {that of an ellipse "
            "with the same parameters|kin}.",
        ),
        one(
            "heart", "sextic heart",
            lambda: curves.implicit(lambda x, y: (x * x + y * y - 1) ** 3 - x * x * y**3, (-1.5, 1.5, -1.5, 1.5)), 1, 1,
            canon="as its equation stands", closed="?", crossings=0,
            shape="The sextic heart is {an algebraic curve of degree six|family}: {(x² + y² - 1)³ = x² y³|rule}. It "
            "passes through the points one unit left, right, above and below the origin.",
            story="It has the form of {the heart on playing cards|place}. Leaving out the right-hand side of its "
            "equation {leaves the unit circle|kin}. A surface of similar equation, the heart surface, is due to "
            "{Gabriel Taubin|person}, who used it in 1993.",
        ),
        one(
            "butterfly", "butterfly curve", curves.fay_butterfly, 1, 1,
            canon="as its equation stands", extra="The pen runs through twelve half turns before it closes.",
            shape="The butterfly curve is {a transcendental polar curve|family}: {r = e to the cos t, minus 2 cos "
            "4t, plus the fifth power of sin (t/12)|rule}. Its many rounds form two pairs of wings.",
            story="{Temple H. Fay|person} of the University of Southern Mississippi found it in 1989. The name "
            "speaks of {wings and feelers|name}. It has become {a favourite test of plotting programs|place}. The "
            "fifth power of the sine {makes each round a little different from the last|kin}.",
        ),
    ]  # fmt: skip


def _cubics() -> list[Entity]:
    return [
        one(
            "folium-of-descartes", "folium of Descartes", curves.folium_of_descartes,
            1, 1, crossings=1, points="one loop",
            size="In the form with the coefficient 3 the loop of the folium of Descartes encloses {3/2, or "
            "1.5|area}, as much as lies between its arms and the asymptote. The loop reaches {2.121 from the "
            "node|size}.",
            shape="The folium of Descartes is {a cubic|family}: {x³ + y³ = 3xy|rule}. It crosses itself at a right "
            "angle in the node, makes one leaf, and both arms approach a single slanted line.",
            story="Folium means {leaf|name}. {René Descartes|person} put it to Pierre de Fermat in 1638 as a "
            "challenge to find its tangents, and Fermat could. A stretch along its axis {turns it into the "
            "trisectrix of Maclaurin|kin}.",
        ),
        one(
            "conchoid", "conchoid of Nicomedes", curves.conchoid, 1, 1, crossings=1, points="two branches",
            size="With the base line at distance 1 from the pole and the fixed length 2, the two branches of the "
            "conchoid of Nicomedes stand {4 units apart|size} on the axis: one rises to 3, the loop of the other "
            "hangs down to -1.",
            shape="The conchoid of Nicomedes is {a quartic|family}: {on every ray from a pole, a fixed length is "
            "measured off to both sides of a base line|rule}. One branch is a bump; the other has a loop.",
            story="Conchoid means {shell-like|name}. {Nicomedes|person} used it in the second century BC to {trisect "
            "angles and double the cube|place}. A circle through the pole as base {gives the limaçon|kin}.",
        ),
        one(
            "witch-of-agnesi", "witch of Agnesi",
            lambda: curves.line(trace(lambda x: x, lambda x: 8 / (x * x + 4), -6, 6)), 1, 1,
            crossings=0, points="one summit",
            size="For a generating circle of radius 1 the witch of Agnesi rises to {height 2|size}, and between the "
            "curve and its asymptote lies {4 pi, about 12.57|area}, just four times the area of the circle.",
            shape="The witch of Agnesi is {a cubic|family}: {y = 8 / (x² + 4)|rule}. It is one smooth bell, flat far "
            "out, that touches its generating circle at the top.",
            story="{Maria Gaetana Agnesi|person} treated it in her textbook of 1748. The word witch is {a "
            "mistranslation of the Italian versiera|name}. The density of {the Cauchy distribution|kin} has the same "
            "shape, and so have {spectral lines|place}.",
        ),
        one(
            "tschirnhausen", "Tschirnhausen cubic",
            lambda: curves.line(trace(lambda t: 1 - 3 * t * t, lambda t: t * (3 - t * t), -2.15, 2.15)), 1, 1,
            crossings=1, points="one loop",
            size="Written as x = 1 - 3t², y = t(3 - t²), the Tschirnhausen cubic has a loop {9 units|size} from "
            "vertex to node. The loop is {12 root 3, about 20.78, long|length} and encloses {72 root 3 / 5, about "
            "24.94|area}.",
            shape="The Tschirnhausen cubic is {a cubic|family} given by {r times the cube of cos (angle / 3) equals "
            "1|rule}. Its line comes from far out, makes one long loop, crosses itself and leaves on the other side.",
            story="{Ehrenfried Walther von Tschirnhaus|person} studied it in 1690; it is also called {the trisectrix "
            "of Catalan|name}. It is {the caustic of a parabola|kin} lit at right angles to its axis, and so appears "
            "{behind a parabolic mirror lit from the side|place}.",
        ),
    ]  # fmt: skip


def _spirals() -> list[Entity]:
    arm = polar(lambda a: np.sqrt(a), 0, 5 * pi, 800)
    return [
        one(
            "archimedean-spiral", "Archimedean spiral", lambda: curves.line(polar(lambda a: a, 0, 6 * pi)), 1, 0,
            crossings=0, points="three turns",
            size="With r equal to the angle, neighbouring turns of the Archimedean spiral are {2 pi, about 6.283, "
            "apart|size} everywhere. Its first three turns are {about 179.7 long|length}.",
            shape="The Archimedean spiral is {a spiral|family} in which {the radius grows in proportion to the "
            "angle|rule}. A point that moves evenly along a ray, while the ray turns evenly, traces it.",
            story="{Archimedes|person} wrote a book about it in the third century BC and used it to {square the "
            "circle and trisect angles|kin}. The groove of {a gramophone record|place} comes close to it. It is also "
            "called {the arithmetic spiral|name}.",
        ),
        one(
            "fermat-spiral", "Fermat spiral", lambda: curves.line(np.concatenate([-arm[::-1], arm])), 2, 0,
            crossings=0, points="two arms",
            size="With r squared equal to the angle, successive turns of one arm of the Fermat spiral fence in equal "
            "areas, each {2 pi squared, about 19.74|area}. After two and a half turns an arm is {3.963 from the "
            "centre|size}.",
            shape="The Fermat spiral is {a parabolic spiral|family}: {the square of the radius is proportional to the "
            "angle|rule}. Two arms leave the centre in opposite directions, and their turns grow ever closer.",
            story="{Pierre de Fermat|person} discussed it in 1636. Points set along it at the golden angle give {the "
            "pattern of seeds in a sunflower|place}. It is also called {the parabolic spiral|name}, since its "
            "equation is {that of a parabola in polar form|kin}.",
        ),
        one(
            "logarithmic-spiral", "logarithmic spiral",
            lambda: curves.line(polar(lambda a: exp(0.18 * a), -4.5 * pi, 2 * pi)), 1, 0, crossings=0,
            size="The logarithmic spiral with growth rate 0.18 is {3.099 times as wide|size} after each full turn, and "
            "meets every ray from its centre at 79.8 degrees. Inwards it turns for ever on a finite length.",
            shape="The logarithmic spiral is {an equiangular spiral|family}: {the radius grows by the same factor "
            "for equal angles|rule}. Enlarging it has the same effect as turning it.",
            story="{Jakob Bernoulli|person} called it {spira mirabilis, the marvellous spiral|name}, and wished it "
            "on his tombstone. It resembles the shell of {the nautilus|place}. Its evolute is {another spiral of the "
            "same form|kin}.",
        ),
        one(
            "hyperbolic-spiral", "hyperbolic spiral",
            lambda: curves.line(polar(lambda a: 1 / a, 0.5, 12 * pi, 3000)), 1, 0, crossings=0,
            size="For r equal to 1 divided by the angle, the tail of the hyperbolic spiral nears a straight line at "
            "{distance 1|size} from the pole. Inwards it makes infinitely many turns on {an infinite length|length}.",
            shape="The hyperbolic spiral is {a spiral|family} in which {the radius is inversely proportional to the "
            "angle|rule}. It winds tightly around the pole and leaves along a straight asymptote.",
            story="{Pierre Varignon|person} studied it in 1704. It is also called {the reciprocal spiral|name}, "
            "since it is {the inverse of the Archimedean spiral|kin}. A {spiral staircase|place} seen from below in "
            "perspective can show it.",
        ),
        one(
            "euler-spiral", "Euler spiral", curves.euler_spiral, 2, 0, crossings=0, points="two coils",
            size="In Fresnel's form the eyes of the Euler spiral lie at (1/2, 1/2) and (-1/2, -1/2), that is, {1.414 "
            "apart|size}. Each arm is {infinitely long|length}, because it circles its eye without end.",
            shape="The Euler spiral is {a clothoid|family}: {its curvature is proportional to the length "
            "walked|rule}. It is straight in the middle and coils up at both ends.",
            story="{Alfred Cornu|person} used it in 1874 to compute diffraction, so it is named Cornu spiral too. "
            "Clothoid comes from {the Greek word for spinning thread|name}. It is the easement between straight and "
            "curve in {railways and motorways|place}. Its coordinates are {the Fresnel integrals|kin}.",
        ),
        one(
            "theodorus-spiral", "spiral of Theodorus", curves.theodorus, 1, 0, points="16 right triangles",
            size="The outer edges of the spiral of Theodorus all have length 1, the spokes grow up to {the square "
            "root of 17, about 4.123|size}. The 16 triangles together cover {about 22.23|area}.",
            shape="The spiral of Theodorus is {a fan of right triangles|family}: {each has outer leg 1, and its "
            "hypotenuse is the inner leg of the next|rule}. The spokes are the square roots of the whole numbers.",
            story="{Theodorus of Cyrene|person} taught Plato's friend Theaetetus in the fifth century BC. It is also "
            "called {the square root spiral|name}. The roots up to 17 are told of in {a dialogue by Plato|place}. "
            "Its turns approach {the distance pi|kin}.",
        ),
        one(
            "fibonacci-spiral", "Fibonacci spiral", curves.fibonacci_spiral, 1, 0, points="eight squares",
            size="Eight squares from side 1 to 21 fill a rectangle of {21 by 34|size}, of area {714|area}. The quarter "
            "circles of this Fibonacci spiral are together {27 pi, about 84.82, long|length}.",
            shape="The Fibonacci spiral is {a chain of quarter circles|family}, {one in each of the squares whose "
            "sides are 1, 1, 2, 3, 5, 8, 13, 21|rule}. Every square is laid along the rectangle made so far.",
            story="The numbers are named after {Leonardo of Pisa, called Fibonacci|person}, whose book of 1202 has "
            "them in a riddle about {rabbits|place}. The picture comes close to {the golden spiral|kin}, a "
            "logarithmic spiral.",
        ),
        one(
            "vogel-spiral", "sunflower spiral", curves.vogel, 1, 0, points="220 dots",
            size="With the n-th seed at distance root n, the 220 seeds of the sunflower spiral fill a disc of radius "
            "{14.83|size} evenly: each has about 3.142 of room. Successive seeds are turned by 137.5 degrees.",
            shape="The sunflower spiral is {a phyllotaxis pattern|family}: {seed number n stands at n times the "
            "golden angle, at a distance of root n|rule}. The eye sees arms winding both ways.",
            story="{Helmut Vogel|person} published this model in 1979. It imitates {the head of a sunflower|place}. "
            "The visible arms are counted by {Fibonacci numbers|kin}. Phyllotaxis means {arrangement of leaves|name}.",
        ),
    ]  # fmt: skip


def _transcendental() -> list[Entity]:
    return [
        one(
            "cycloid", "cycloid",
            lambda: curves.line(trace(lambda t: t - sin(t), lambda t: 1 - cos(t), 0, 6 * pi)), 1, 1,
            crossings=0, points="three arches",
            size="For a rolling circle of radius 1, each arch of the cycloid is {8 units long|length}, spans {6.283 "
            "by 2|size} and covers {3 pi, about 9.425|area}, three times the circle. The picture shows three arches.",
            shape="The cycloid is {a roulette|family}: the path of {a point on the rim of a circle that rolls along "
            "a straight line|rule}. Its arches meet the line in upright cusps.",
            story="{Galileo Galilei|person} gave it its name, from {a Greek word for circle-like|name}. It is both the "
            "curve of equal time, used by Huygens in {a pendulum clock|place}, and {the curve of quickest "
            "descent|kin}, found by Johann Bernoulli in 1696.",
        ),
        one(
            "prolate-trochoid", "prolate trochoid",
            lambda: curves.line(trace(lambda t: t - 2 * sin(t), lambda t: 1 - 2 * cos(t), -pi, 7 * pi)), 1, 1,
            crossings=4, points="four loops",
            size="For a rolling circle of radius 1 and a pen at distance 2, the prolate trochoid repeats every "
            "{6.283|size} and swings 4 units up and down. A full wave is {about 13.36 long|length}.",
            shape="The prolate trochoid is {a trochoid|family}: the path of {a point outside the rim, fixed to a "
            "circle that rolls along a line|rule}. It goes forward in bows and backward in small loops.",
            story="A point on the flange of {a railway wheel|place} moves like this, so parts of a running train "
            "always move backwards. Trochoid comes from {the Greek word for wheel|name}. The name is due to {Gilles "
            "de Roberval|person}. With the pen on the rim it {becomes the cycloid|kin}.",
        ),
    ]  # fmt: skip


def _knots() -> list[Entity]:
    return [
        one(
            "trefoil-knot", "trefoil knot",
            curves.trefoil_knot,
            3, 0, points="three crossings",
            size="The trefoil knot drawn by x = sin t + 2 sin 2t, y = cos t - 2 cos 2t reaches {3 units from the "
            "centre|size}. It can be tied on a torus, winding {two times one way and three times the other|count}.",
            shape="The trefoil knot is {a torus knot|family}: {a closed cord that passes over and under itself in "
            "turn|rule}, three times each, before its ends join. No knot has fewer crossings.",
            story="Its name comes from {the three-leaved clover|name}. {Max Dehn|person} proved in 1914 that it cannot "
            "be turned into its mirror image. It is {an overhand knot with joined ends|kin} and occurs in {Celtic "
            "ornament|place}.",
        ),
        one(
            "figure-eight-knot", "figure-eight knot",
            lambda: curves.knot(lambda t: (2 + cos(2 * t)) * exp(3j * t), lambda t: sin(4 * t)),
            2, 0, points="four crossings",
            size="Drawn by a radius of 2 + cos 2t at the angle 3t, the figure-eight knot stays {between 1 and "
            "3|size} from the centre, going round {three times|count} before it closes.",
            shape="The figure-eight knot is {an alternating knot|family}: {a closed cord that goes over and under "
            "itself in turn|rule} at four places. It is the only knot with exactly this number of crossings.",
            story="Sailors and climbers tie it as {a stopper and a loop in rope|place}. In space it {can be moved "
            "into its own mirror image|kin}. {Robert Riley|person} found the hyperbolic geometry of its complement "
            "in the 1970s. The name tells of {the digit 8|name}.",
        ),
        one(
            "cinquefoil-knot", "cinquefoil knot",
            lambda: curves.knot(lambda t: (2 + cos(5 * t)) * exp(2j * t), lambda t: sin(5 * t)), 5, 0,
            points="five crossings",
            size="Drawn by a radius of 2 + cos 5t at the angle 2t, the cinquefoil knot stays {between 1 and 3|size} "
            "from the centre and goes round {twice|count} before it closes.",
            shape="The cinquefoil knot is {a torus knot|family}: {a closed cord that goes over and under itself in "
            "turn|rule} at five places while it winds twice around the middle.",
            story="It takes its name from {the five-leaved plants of the genus Potentilla|name} and is also called "
            "Solomon's seal knot. It is {the torus knot of five and two|kin}. Its outline recalls {a "
            "pentagram|place}.",
        ),
        one(
            "borromean-rings", "Borromean rings", curves.borromean, 3, 0, points="six crossings",
            size="In this drawing of the Borromean rings the circles have radius 1 and their centres are {1.074 "
            "apart|size}. The uncut circles together are {6 pi, about 18.85, long|length}.",
            shape="The Borromean rings are {a link|family} of three closed loops: {each passes over one neighbour "
            "and under the other|rule}. No two are linked, yet the three cannot be separated.",
            story="They are named after {the Italian house of Borromeo|name}, which bears them in {its coat of "
            "arms|place}. Cut any ring and {the other two fall apart|kin}. Michael Freedman and Richard Skora proved "
            "that three round circles cannot form them in space.",
        ),
    ]  # fmt: skip
