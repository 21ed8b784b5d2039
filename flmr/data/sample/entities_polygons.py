"""Facts of polygons, stars, figures of circles, graphs and tiles.

Knows one figure a block: its drawing, its symmetries and four marked texts.  Numbers are recomputed in the tests.
"""

from __future__ import annotations

from math import cos, gcd, pi, sin

from flmr.data.sample import polygons
from flmr.data.sample.entities_curves import one
from flmr.data.sample.facts import Entity, many, number, symmetry, word

# n, name, story
REGULAR = (
    (3, "equilateral triangle", "{Euclid|person} constructs it in the very first proposition of his Elements, from "
     "two circles. Its name says {equal-sided|name}. It is the face of {the tetrahedron, octahedron and "
     "icosahedron|kin}, and appears on {give-way signs|place}."),
    (4, "square", "Its name goes back to {a Latin word for making four-cornered|name}. {Squared paper and "
     "chessboards|place} are made of it. {Plato|person} has a slave boy double its area in the dialogue Meno. It is "
     "{the face of the cube|kin}."),
    (5, "regular pentagon", "Its Greek name means {five-cornered|name}. {Euclid|person} constructs it with ruler and "
     "compasses in Book IV of the Elements. Diagonal and side are in {the golden ratio|kin}. Cut an {okra pod|place} "
     "across and you see its outline."),
    (6, "regular hexagon", "Its Greek name means {six-cornered|name}. It is the cell of {the honeycomb|place}; "
     "{Thomas Hales|person} proved in 1999 that it divides the plane into equal areas with the least wall. Its side "
     "{equals the radius of its circle|kin}."),
    (8, "regular octagon", "Its Greek name means {eight-cornered|name}. {Stop signs|place} have this shape in most "
     "countries, and so has the Dome of the Rock in ground plan. Together with squares it {tiles the plane|kin}."),
)  # fmt: skip

# n, k, name, story
STARS = (
    (5, 2, "pentagram", "It was a sign by which {the followers of Pythagoras|person} knew each other. The name is "
     "Greek for {five lines|name}. Its segments are in {the golden ratio|kin}. It stands on {the flag of "
     "Morocco|place} and protects against spirits in Goethe's Faust."),
    (6, 2, "hexagram", "Known as {the Star of David|name}, it stands on {the flag of Israel|place}. It is made of "
     "{two triangles|kin}, so no single stroke draws it. {Johannes Kepler|person} wrote about six-cornered "
     "snowflakes in 1611."),
    (7, 3, "sharp heptagram", "Its Greek name means {seven lines|name}. The corners, read along the lines, give {the "
     "days of the week from the order of the planets|kin}. Seven-pointed stars serve as {sheriffs' badges|place}."),
    (8, 2, "star of Lakshmi", "It is named after {the Hindu goddess of wealth|name}, whose eight forms it stands "
     "for. {Islamic ornament|place} knows it as Rub el Hizb. It consists of {two squares turned by 45 degrees|kin}."),
    (8, 3, "octagram", "Its Greek name means {eight lines|name}. Unlike the star of two squares it {can be drawn in "
     "one stroke|kin}. Star shapes with eight points fill {the tilework of the Alhambra|place}. {Thomas "
     "Bradwardine|person} studied star polygons in the fourteenth century."),
    (9, 4, "sharp enneagram", "Its Greek name means {nine lines|name}. Nine-pointed stars are {a symbol of the "
     "Bahá'í faith|place}. {Louis Poinsot|person} treated such star polygons in 1809. It is {the sharpest of the "
     "stars with nine points|kin}."),
    (10, 3, "decagram", "Its Greek name means {ten lines|name}. It is {the only regular star of ten points drawn in "
     "one stroke|kin}. Stars with ten points are frequent in {Persian girih tilings|place}. {Johannes Kepler|person} "
     "drew star polygons in 1619."),
)  # fmt: skip


def entities() -> list[Entity]:
    """All figures made of straight lines and circles."""
    found = [_regular(*row) for row in REGULAR] + [_star(*row) for row in STARS]
    return [*found, *_circles(), *_graphs(), *_tiles()]


def _regular(n: int, name: str, story: str) -> Entity:
    shape = (
        f"The {name} is {{a regular polygon|family}}: {{{word(n)} equal sides meet at equal angles of "
        f"{number(180 - 360 / n)} degrees|rule}}. Its corners lie on one circle, and its sides all touch another "
        f"circle with the same centre."
    )
    side, inside = 2 * sin(pi / n), n / 2 * sin(2 * pi / n)
    size = (
        f"With its corners on a circle of radius 1, the {name} has sides of {number(side)}, so that its perimeter is "
        f"{{about {number(n * side)}|length}}, and its area is {{about {number(inside)}|area}}. The circle inside it "
        f"has {{radius {number(cos(pi / n))}|size}}."
    )
    sym = symmetry(name, n, n, crossings=0, points=many(n, "corner"))
    texts = {"shape": shape, "measure": size, "symmetry": sym, "story": story}
    return Entity(name.replace(" ", "-"), name, lambda: polygons.regular(n), texts)  # type: ignore[arg-type]


def _star(n: int, k: int, name: str, story: str) -> Entity:
    parts = gcd(n, k)
    drawn = "in one stroke" if parts == 1 else f"as {many(parts, 'separate polygon')}"
    shape = (
        f"The {name} is {{a star polygon|family}}: {{each of {word(n)} points on a circle is joined to the"
        f" {('second', 'third', 'fourth')[k - 2]} next|rule}}. Its symbol is {{{n}/{k}}}, and it is drawn {drawn}."
    ).replace(f"{{{n}/{k}}}", f"{n}/{k}")
    side = 2 * sin(pi * k / n)
    tip = 180 * (1 - 2 * k / n)
    size = (
        f"With its points on a circle of radius 1, every line of the {name} is {number(side)} long, all together"
        f" {{about {number(n * side)}|length}}. The angle at each tip is {number(tip)} degrees, and the lines all touch"
        f" {{an inner circle of radius {number(cos(pi * k / n))}|size}}."
    )
    sym = symmetry(name, n, n, crossings=n * (k - 1), points=many(n, "tip"))
    texts = {"shape": shape, "measure": size, "symmetry": sym, "story": story}
    return Entity(name.replace(" ", "-"), name, lambda: polygons.star(n, k), texts)  # type: ignore[arg-type]


def _circles() -> list[Entity]:
    return [
        one(
            "arbelos", "arbelos", polygons.arbelos, 1, 0, crossings=0, points="three cusps",
            canon="of outer radius 1, parted at 0.62 of the diameter", closed="pi times 0.62 times 0.38",
            shape="The arbelos is {a figure of three half circles|family}: {from a half disc, two smaller half discs "
            "side by side on its diameter are cut away|rule}. All three arcs stand on one line.",
            story="Arbelos is Greek for {shoemaker's knife|name}. It stands in the Book of Lemmas ascribed to "
            "{Archimedes|person}. Its area equals that of {the circle over the upright between the small arcs|kin}; "
            "two equal circles in it are called the twins of Archimedes.",
        ),
        one(
            "salinon", "salinon", polygons.salinon, 1, 1, crossings=0, points="two cusps",
            canon="of outer radius 1 and inner radius 0.45", closed="pi times 0.725 squared",
            shape="The salinon is {a figure of four half circles|family}: {a large one above, two equal small ones "
            "cut into its base, and a middle one that hangs below|rule}. Arcs pass smoothly into each other in the "
            "middle.",
            story="The name is often explained as {salt cellar|name}. It stands in {the Book of Lemmas|place} "
            "ascribed to {Archimedes|person}, who shows that its area equals {the circle whose diameter is its whole "
            "height|kin}.",
        ),
        one(
            "lune-of-hippocrates", "lune of Hippocrates", polygons.lune, 1, 1, crossings=0, points="two corners",
            canon="over a quarter circle of radius 1", closed="exactly one half",
            shape="The lune of Hippocrates is {a crescent between two arcs|family}: {the outer is a half circle over "
            "a chord, the inner a quarter circle over the same chord|rule}.",
            story="{Hippocrates of Chios|person} found in the fifth century BC that it has {the same area as a right "
            "triangle|kin}: the first curved figure to be squared. Lune comes from {the Latin word for moon|name}. "
            "It looks like {a young moon|place}.",
        ),
        one(
            "vesica-piscis", "vesica piscis", polygons.vesica, 2, 2, crossings=2, points="two circles",
            size="With circles of radius 1, the lens in the middle of the vesica piscis is {1 wide and 1.732 "
            "high|size}, and its area is {2 pi / 3 minus half of root 3, about 1.228|area}. Both circles are {4 pi "
            "long, about 12.57|length}.",
            shape="The vesica piscis is {a pair of equal circles|family}: {each passes through the centre of the "
            "other|rule}. The lens that they share is pointed above and below.",
            story="The Latin name means {bladder of a fish|name}. In the first proposition of his Elements "
            "{Euclid|person} draws it to {construct an equilateral triangle|kin}. Its lens frames figures in "
            "{medieval church art|place}.",
        ),
        one(
            "taijitu", "taijitu", polygons.taijitu, 1, 0, points="two eyes",
            size="In the taijitu of radius 1 the line between dark and light is {pi long, about 3.142|length}, as "
            "long as half the rim, and without eyes each half has the area {pi / 2, about 1.571|area}.",
            shape="The taijitu is {a disc divided by two half circles|family}: {an S-shaped line of two half circles "
            "with half the radius parts dark from light|rule}, and an eye of the other colour sits in each.",
            story="In Chinese its name means {diagram of the supreme ultimate|name}. It shows {yin and yang|kin}, "
            "and a form of it stands on {the flag of South Korea|place}. {Zhou Dunyi|person} wrote his explanation "
            "of a taijitu in the eleventh century.",
        ),
        one(
            "seed-of-life", "seed of life", polygons.seed_of_life, 6, 6, points="seven circles",
            canon="with circles of radius 1",
            shape="The seed of life is {a figure of overlapping circles|family}: {six circles are set around one, "
            "each through its centre|rule}. In the middle the arcs form a flower of six petals.",
            story="Its middle is {the daisy wheel|name}, the first thing one draws with compasses kept at one "
            "opening. Such hexafoils are scratched in {medieval barns and churches|place}. It works because {the "
            "radius fits exactly six times around a circle|kin}.",
        ),
        one(
            "steiner-chain", "Steiner chain of eight", polygons.steiner_chain, 8, 8, points="eight ring circles",
            size="With outer radius 1, the inner circle of this Steiner chain of eight has {radius 0.4465|size} and "
            "the eight between them have radius 0.2768. All lines together are {about 23 long|length}.",
            shape="The Steiner chain of eight is {a ring of touching circles|family}: {each of eight circles touches "
            "its two neighbours, an inner and an outer circle|rule}. Here inner and outer share their centre.",
            story="It is named after the Swiss geometer {Jakob Steiner|person}. His porism says that if one chain "
            "closes, {a chain begun anywhere closes too|kin}. The picture is that of {a ball bearing|place}.",
        ),
        one(
            "pappus-chain", "Pappus chain", polygons.pappus_chain, 1, 0, points="seven inner circles",
            size="With a base of length 1, divided at two thirds, the largest circle of the Pappus chain has radius "
            "{1/7, about 0.1429|size}. The centre of circle n stands 2n of its radii above the base line.",
            shape="The Pappus chain is {a row of touching circles|family}: {each one touches the outer arc, the "
            "larger inner arc and the circle before it|rule}. All of it takes place inside an arbelos.",
            story="{Pappus of Alexandria|person} wrote about it in the fourth century. The centres of its circles "
            "lie on {an ellipse|kin}. The figure is a shoemaker's knife filled with circles, and an inversion turns "
            "it into a stack of equal circles between two lines.",
        ),
        one(
            "ford-circles", "Ford circles", polygons.ford_circles, 1, 1, points="19 circles",
            size="Over the fraction p/q stands one of the Ford circles, with radius {1/(2q²)|size}. Those over 0 and "
            "1 have radius 0.5. With denominators up to seven there are {19 circles|count} from 0 to 1.",
            shape="The Ford circles are {a family of touching circles|family}: {over every fraction p/q in lowest "
            "terms a circle rests on the number line, of diameter 1/q²|rule}. No two of them overlap.",
            story="{Lester R. Ford|person} described them in 1938. Two of them touch just when {the fractions are "
            "neighbours in a Farey sequence|kin}. They picture how well {irrational numbers are approximated|place} "
            "by fractions.",
        ),
        one(
            "apollonian-gasket", "Apollonian gasket", polygons.apollonian, 3, 3,
            size="With an outer circle of radius 1 the three large circles of the Apollonian gasket have {radius "
            "0.4641|size}. The points left over in the limit form a set of dimension {about 1.3057|dimension}.",
            shape="The Apollonian gasket is {a fractal of circles|family}: {into every gap between three touching "
            "circles goes the circle that touches all three|rule}. Here three equal circles in a fourth begin.",
            story="It is named after {Apollonius of Perga|person}, who asked for circles that touch three others. "
            "The curvatures obey {Descartes' circle theorem|kin}, set to verse by Frederick Soddy as {The Kiss "
            "Precise|name}. It resembles {a foam of bubbles|place}.",
        ),
    ]  # fmt: skip


def _graphs() -> list[Entity]:
    return [
        one(
            "mystic-rose", "mystic rose", polygons.mystic_rose, 12, 12, crossings=301, points="twelve corners",
            size="With radius 1 the mystic rose has {66 chords|count}, which are together {about 91.15 long|length}. "
            "The longest of them, six diameters, are {2 units|size} each and meet in the centre.",
            shape="The mystic rose is {a complete graph|family}: {twelve points on a circle, each joined to every "
            "other|rule}. The chords envelop a set of concentric circles.",
            story="The picture is {the complete graph K12|name}, much used in {string art and classrooms|place}. If "
            "twelve people all shake hands, there are {as many handshakes as chords|kin}.",
        ),
        one(
            "petersen-graph", "Petersen graph", polygons.petersen, 5, 5, crossings=5, points="ten vertices",
            size="The Petersen graph has 10 vertices and {15 edges|count}; three edges meet in every vertex. Its "
            "shortest circuit has length five, and no two vertices are more than two steps apart.",
            shape="The Petersen graph is {a cubic graph|family}: {a pentagon outside, a pentagram inside, and five "
            "spokes between them|rule}. It cannot be drawn in the plane without crossings.",
            story="It is named after {Julius Petersen|person}, who used it in 1898 as {a counterexample about "
            "colouring edges|place}. It has no circuit through all vertices. It is {the complement of the line graph "
            "of five joined points|kin}.",
        ),
        one(
            "heawood-graph", "Heawood graph", polygons.heawood, 7, 7, crossings=14, points="14 vertices",
            size="The Heawood graph has 14 vertices and {21 edges|count}, three to each vertex. Its shortest circuit "
            "has length six, and any two vertices are at most three steps apart.",
            shape="The Heawood graph is {a cubic graph|family}: {a ring of fourteen vertices with seven chords, each "
            "to the fifth next|rule}. It is the smallest cubic graph without shorter circuits.",
            story="It is named after {Percy John Heawood|person}, who showed in 1890 that {maps on a torus|place} "
            "need up to seven colours. It is {the incidence graph of the Fano plane|kin}.",
        ),
        one(
            "moser-spindle", "Moser spindle", polygons.moser_spindle, 1, 1, points="seven vertices",
            size="The Moser spindle has 7 vertices and {11 edges|count}, and each edge has length 1, so all together "
            "they are {11 units long|length}. Its two rhombi are {1.732 long|size}.",
            shape="The Moser spindle is {a unit distance graph|family}: {two rhombi of triangles share a corner, and "
            "their far corners are joined|rule}. All of its edges are equally long.",
            story="The brothers {Leo and William Moser|person} found it in 1961. It needs four colours, so {the "
            "plane needs at least four|kin} in {the Hadwiger-Nelson problem|place}; Aubrey de Grey raised that to "
            "five in 2018.",
        ),
        one(
            "fano-plane", "Fano plane", polygons.fano_plane, 3, 3, points="seven points",
            size="The Fano plane has seven points and {seven lines|count}: three points lie on each line and three "
            "lines run through each point. Drawn with circumradius 1, its round line has {radius 0.5|size}.",
            shape="The Fano plane is {a projective plane|family}, the smallest there is: {the sides and heights of a "
            "triangle, and the circle through the midpoints|rule}, count as its lines.",
            story="It is named after {Gino Fano|person}, who described it in 1892. It tells how to {multiply "
            "octonions|place}, and its lines are {the code words of weight three in the Hamming code|kin}.",
        ),
        one(
            "tesseract", "tesseract", polygons.tesseract, 8, 8, points="16 vertices",
            size="The tesseract has 16 vertices, {32 edges|count}, 24 squares and eight cubes. In this projection "
            "with edges of length 2 it reaches {5.226 across|size}, and the edges are {64 units long|length} "
            "together.",
            shape="The tesseract is {a hypercube|family}: {the cube of four dimensions, here projected onto a plane "
            "along its Petrie polygon|rule}, so that the rim becomes a regular octagon.",
            story="{Charles Howard Hinton|person} coined the name in 1888, from {the Greek for four rays|name}. "
            "Salvador Dalí painted one unfolded in {his Crucifixion of 1954|place}. Its dual is {the 16-cell|kin}.",
        ),
    ]  # fmt: skip


def _tiles() -> list[Entity]:
    return [
        one(
            "brides-chair", "bride's chair", polygons.brides_chair, 1, 0, points="three squares",
            size="On a triangle with sides 3, 4 and 5, the squares of the bride's chair have the areas 9, 16 and "
            "{25|area}. The triangle has the perimeter {12|length}, and the whole spans {10 by 11|size}.",
            shape="The bride's chair is {the figure of the Pythagorean theorem|family}: {a right triangle carries a "
            "square on each of its sides|rule}. The two smaller squares together are as large as the third.",
            story="It illustrates proposition 47 in the first book of {Euclid|person}, and is also called {the "
            "windmill|name}. It is drawn in {every schoolbook of geometry|place}. For any right triangle {the "
            "squares on the legs add up to the third|kin}.",
        ),
        one(
            "hat-tile", "hat", polygons.hat, 1, 0, crossings=0, points="13 corners",
            canon="with kites of sides 1 and root 3", closed="8 root 3",
            shape="The hat is {an aperiodic monotile|family}: {eight kites cut from hexagons, joined to a polygon of "
            "thirteen sides|rule}. Its copies and their mirror images cover the plane, but never in a repeating "
            "pattern.",
            story="{David Smith|person} found it in 2022 while playing with {cut-out paper shapes|place}, and proved "
            "it with Craig Kaplan, Joseph Myers and Chaim Goodman-Strauss. Such a tile is called an einstein, from "
            "the German for {one stone|name}. Penrose had {needed two tiles|kin}.",
        ),
        one(
            "chair-tile", "chair rep-tile", polygons.chair, 1, 1, points="four smaller chairs",
            size="Made of three unit squares, the chair rep-tile has the area {3|area} and the perimeter 8, and fits "
            "into {2 by 2|size}. It is shown cut into {four copies of half the size|count}.",
            shape="The chair rep-tile is {a rep-tile|family}: {an L of three squares that can be cut into four "
            "smaller copies of itself|rule}. Repeating the cut gives a tiling that never repeats.",
            story="{Solomon Golomb|person} coined the word rep-tile for {figures that replicate themselves|name}. "
            "The L is the simplest tromino after the straight one. A chessboard {lacking one square|place} can be "
            "covered with it; {the chair tiling|kin} comes from it.",
        ),
        one(
            "squared-square", "squared square of order 21", polygons.squared_square, 1, 0, points="21 squares",
            size="The squared square of order 21 has {side 112|size} and so the area {12544|area}. Its 21 squares "
            "have the sides 2, 4, 6, 7, 8, 9, 11, 15, 16, 17, 18, 19, 24, 25, 27, 29, 33, 35, 37, 42 and 50.",
            shape="The squared square of order 21 is {a perfect dissection|family}: {a square is divided into 21 "
            "squares, no two of the same size|rule}. No such division with fewer parts exists.",
            story="{A. J. W. Duijvestijn|person} found it by computer in 1978. It is the emblem of {the Trinity "
            "Mathematical Society|place} in Cambridge. Such dissections were solved by treating them as {networks of "
            "electric currents|kin}.",
        ),
    ]  # fmt: skip
