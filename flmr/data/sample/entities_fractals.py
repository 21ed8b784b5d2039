"""Facts of fractals.

Knows one fractal a block: its drawing, its symmetries and four marked texts.  Dimensions are recomputed in the tests
from the number of copies and their ratio.
"""

from __future__ import annotations

from math import log

from flmr.data.sample import fractals
from flmr.data.sample.entities_curves import one
from flmr.data.sample.facts import Entity, number, word


def similar(copies: int, ratio: str, inverse: float, what: str = "It") -> str:
    """What a self-similar figure's dimension is: log(copies) / log(inverse), inverse being 1 / ratio."""
    value = number(log(copies) / log(inverse))
    made = f"{what} is made of {{{word(copies)} copies, each {ratio} as large|count}}"
    return f"{made}, so its dimension is {{about {value}|dimension}}."


def entities() -> list[Entity]:
    """All fractals."""
    return [*_snowflakes(), *_dust(), *_trees(), *_paths(), *_dynamics()]


def _snowflakes() -> list[Entity]:
    return [
        one(
            "koch-snowflake", "Koch snowflake", fractals.koch_snowflake, 6, 6, crossings=0,
            size=f"Grown on a triangle of area 1, the Koch snowflake has the area {{8/5, or 1.6|area}}, though its "
            f"rim is {{infinitely long|length}}. {similar(4, 'one third', 3, 'Each third of the rim')}",
            shape="The Koch snowflake is {a fractal curve|family}: {the middle third of every edge of a triangle is "
            "replaced by two sides of a small triangle outside|rule}, again and again.",
            story="{Helge von Koch|person} published the curve in 1904 as {a line without tangents|kin} drawn by "
            "elementary means. The closed form resembles {a snow crystal|place}, and {Koch star or Koch island|name} "
            "are other names for it.",
        ),
        one(
            "koch-antisnowflake", "Koch antisnowflake", fractals.koch_antisnowflake, 3, 3,
            size=f"Cut from a triangle of area 1, the Koch antisnowflake keeps the area {{2/5, or 0.4|area}}, while "
            f"its rim becomes {{infinitely long|length}}. {similar(4, 'one third', 3, 'Each third of the rim')}",
            shape="The Koch antisnowflake is {a fractal curve|family}: {the middle third of every edge of a triangle "
            "is replaced by two sides of a small triangle inside|rule}, again and again.",
            story="It is the counterpart of the figure that {Helge von Koch|person} gave in 1904: {the teeth point "
            "inwards instead of outwards|kin}. Anti means {against|name} in Greek. Its branches look like {a "
            "three-bladed propeller|place} of frost.",
        ),
        one(
            "minkowski-island", "Minkowski island", fractals.quadratic_island, 4, 0, crossings=0,
            size=f"Grown on a unit square, the Minkowski island always keeps the area {{1|area}}, while its rim "
            f"doubles with every step. {similar(8, 'one quarter', 4, 'Each side of the rim')}",
            shape="The Minkowski island is {a fractal curve|family}: {every edge of a square is replaced by a zigzag "
            "of eight edges, a quarter as long|rule}. What is added outside is taken away inside.",
            story="It is named after {Hermann Minkowski|person}; {quadratic Koch island|name} is another name, and "
            "one side is called the Minkowski sausage. {Fractal antennas|place} have this shape. It {tiles the "
            "plane|kin} like the square.",
        ),
        one(
            "sierpinski-triangle", "Sierpiński triangle", fractals.sierpinski_triangle, 3, 3,
            size="Each step takes a quarter away from the Sierpiński triangle, so in the end its area is {zero|area}. "
            f"{similar(3, 'half', 2)} The picture shows 81 small triangles.",
            shape="The Sierpiński triangle is {a fractal|family}: {from a triangle the middle quarter is removed, "
            "and then from each triangle that is left|rule}, without any end.",
            story="{Wacław Sierpiński|person} described it in 1915. {The odd numbers in Pascal's triangle|kin} make "
            "the same pattern. It was laid in {the floors of Italian churches|place} centuries before. It is also "
            "called {the Sierpiński gasket|name}.",
        ),
        one(
            "sierpinski-carpet", "Sierpiński carpet", fractals.sierpinski_carpet, 4, 4,
            size="Each step leaves eight ninths of the Sierpiński carpet, so in the end its area is {zero|area}. "
            f"{similar(8, 'one third', 3)} The picture shows 512 small squares.",
            shape="The Sierpiński carpet is {a fractal|family}: {a square is divided into nine, the middle one is "
            "removed, and so on with all the other eight|rule}.",
            story="{Wacław Sierpiński|person} published it in 1916. It is universal: {every curve in the plane has a "
            "copy in it|kin}. It is used in {antennas of mobile phones|place}. The name speaks of {a floor covering "
            "with holes|name}.",
        ),
        one(
            "vicsek-fractal", "Vicsek fractal", fractals.vicsek, 4, 4,
            size="Each step leaves five ninths of the area of the Vicsek fractal, in the end {nothing|area}. "
            f"{similar(5, 'one third', 3)} The picture shows 125 small squares.",
            shape="The Vicsek fractal is {a fractal|family}: {a square is divided into nine, of which only the "
            "middle one and its four neighbours stay|rule}, over and over.",
            story="It is named after the physicist {Tamás Vicsek|person}, and also called {box fractal|name}. Such "
            "crosses are used for {compact antennas|place}. It has {no closed loop in the limit|kin}.",
        ),
        one(
            "hexaflake", "hexaflake", fractals.hexaflake, 6, 6,
            size="Each step leaves seven ninths of the area of the hexaflake, in the end {nothing|area}. "
            f"{similar(7, 'one third', 3)} The picture shows 343 small hexagons.",
            shape="The hexaflake is {a fractal|family}: {a hexagon is replaced by seven smaller ones, one in the "
            "middle and six around|rule}, and each of these again.",
            story="Its name joins {the Greek for six and the English flake|name}. Both its outer rim and the gaps "
            "inside are bounded by {Koch snowflakes|kin}. It resembles {ice crystals|place}.",
        ),
        one(
            "pentaflake", "pentaflake", fractals.pentaflake, 5, 5,
            size="The small pentagons of the pentaflake are smaller by the square of the golden ratio at each step. "
            f"{similar(6, '0.382', 2.618034)}",
            shape="The pentaflake is {a fractal|family}: {a pentagon is replaced by six smaller ones, one upside "
            "down in the middle and five around|rule}, and each of these again.",
            story="{Albrecht Dürer|person} drew its first steps in 1525, so it is also called {Dürer's pentagon "
            "fractal|name}. The gaps are triangles with {the golden ratio of sides|kin}. It recalls {a flower of "
            "five petals|place}.",
        ),
        one(
            "t-square", "T-square fractal", fractals.t_square, 4, 4,
            size="Begun with a square of side 1, the T-square fractal grows towards filling {a box of 2 by 2|size}, "
            "so its area comes to {4|area}. The rim has the dimension {log 3 / log 2, about 1.585|dimension}.",
            shape="The T-square fractal is {a fractal of squares|family}: {on every free corner of a square a square "
            "of half the size is centred|rule}, on and on.",
            story="It is named after {the drawing instrument for right angles|name}. It can be played as {a chaos "
            "game on the four corners of a square|place}. Its rim has {the same dimension as the Sierpiński "
            "triangle|kin}.",
        ),
    ]  # fmt: skip


def _dust() -> list[Entity]:
    return [
        one(
            "cantor-dust", "Cantor dust", fractals.cantor_dust, 4, 4,
            size="Each step leaves four ninths of the area of the Cantor dust, in the end {nothing|area}. "
            f"{similar(4, 'one third', 3)} The picture shows 64 small squares.",
            shape="The Cantor dust is {a fractal|family}: {a square is divided into nine, of which only the four at "
            "the corners stay|rule}, over and over. No two of its points are connected.",
            story="It is the square of the set that {Georg Cantor|person} published in 1883, that is, {the product "
            "of two Cantor sets|kin}. The word dust says that {it falls apart into single points|name}. {Saturn's "
            "rings|place} have been likened to such sets.",
        ),
        one(
            "cantor-comb", "Cantor comb", fractals.cantor_comb, 1, 1, points="31 bars",
            size="Row n of the Cantor comb has twice as many bars as the row before, together two thirds as long. "
            f"{similar(2, 'one third', 3)} In the end {{the length zero|length}} is left.",
            shape="The Cantor comb is {a fractal drawn in rows|family}: {from every bar the middle third is removed "
            "to give the row below|rule}. What remains for ever is the Cantor set.",
            story="{Georg Cantor|person} described the set in 1883, Henry Smith already in 1874. It has {as many "
            "points as the whole line|kin}. Benoit Mandelbrot saw it in {bursts of noise on telephone lines|place}. "
            "The rows look like {teeth of a comb|name}.",
        ),
        one(
            "hilbert-curve", "Hilbert curve", fractals.hilbert_curve, 1, 1, crossings=0,
            size="This fourth stage of the Hilbert curve visits {256 cells|count} in 255 equal steps. With cells of "
            "side 1 it is {255 long|length}. In the limit it fills the square, so its dimension is {2|dimension}.",
            shape="The Hilbert curve is {a space-filling curve|family}: {four copies of half the size, the first and "
            "last of them turned, are joined by three steps|rule}. It visits every cell of the square once.",
            story="{David Hilbert|person} published it in 1891, a year after Peano. Computers use it to {keep "
            "neighbours together in maps and memory|place}. It is {continuous but nowhere smooth|kin}. Hilbert "
            "taught in Göttingen.",
        ),
        one(
            "peano-curve", "Peano curve", fractals.peano_curve, 2, 0, crossings=0,
            size="This second stage of the Peano curve visits {81 cells|count} in 80 equal steps. With cells of side "
            "1 it is {80 long|length}. In the limit it fills the square, so its dimension is {2|dimension}.",
            shape="The Peano curve is {a space-filling curve|family}: {nine copies a third as large follow each "
            "other in three columns, up, down and up|rule}. It visits every cell of the square once.",
            story="{Giuseppe Peano|person} published it in 1890, the first curve that {passes through every point of "
            "a square|kin}. It surprised all who took dimension for a matter of course. Peano is also known for his "
            "axioms of number.",
        ),
        one(
            "sierpinski-curve", "Sierpiński curve", fractals.sierpinski_curve, 4, 4, crossings=0,
            size="As its stages grow, the Sierpiński curve comes close to every point of a square, yet the area "
            "inside tends to only {5/12, about 0.4167|area} of it. Its length {grows beyond all bounds|length}.",
            shape="The Sierpiński curve is {a closed space-filling curve|family}: {corner motifs of eight directions "
            "are repeated at half the size|rule}. The line returns to its start without crossing itself.",
            story="{Wacław Sierpiński|person} described it in 1912. Since it visits near points one after the other "
            "it gives {quick routes for a travelling salesman|place}. It looks like lace and is {as symmetric as the "
            "square|kin}.",
        ),
        one(
            "z-order", "Z-order curve", fractals.z_order, 2, 0,
            size="This third stage of the Z-order curve visits {64 points|count} of an 8 by 8 grid in 63 steps, "
            "which are not equally long. In the limit it fills the square, so its dimension is {2|dimension}.",
            shape="The Z-order curve is {a space-filling order|family}: {the bits of both coordinates are "
            "interleaved, and the points are visited by that number|rule}. Every four of them form a Z.",
            story="{Guy Macdonald Morton|person} introduced it in 1966, so it is also called {Morton order|name}. It "
            "orders {data in map services and on graphics cards|place}. It gives the same grouping as {a "
            "quadtree|kin}.",
        ),
    ]  # fmt: skip


def _trees() -> list[Entity]:
    return [
        one(
            "pythagoras-tree", "Pythagoras tree", fractals.pythagoras_tree, 1, 1,
            size="Begun with a unit square, the Pythagoras tree fits into {6 by 4|size}. Each generation of squares "
            "adds the area {1|area}, as much as the trunk, although later ones overlap.",
            shape="The Pythagoras tree is {a fractal tree|family}: {every square carries a right triangle, on whose "
            "legs stand two smaller squares|rule}. Here the triangles have equal legs.",
            story="The teacher {Albert Bosman|person} drew it in 1942. Each step shows {the theorem of "
            "Pythagoras|kin}, which also gives {the name|name}. Its crown looks like {broccoli|place}.",
        ),
        one(
            "h-tree", "H tree", lambda: fractals.branches(8, 90, 2**-0.5, True), 2, 2,
            size=f"Each segment of the H tree is shorter than the last by the square root of 2, or 0.7071 times as "
            f"long. {similar(2, '0.7071', 2**0.5)}",
            shape="The H tree is {a fractal tree|family}: {at both ends of every segment stands another one at a "
            "right angle, shorter by the square root of two|rule}.",
            story="It is named after {the capital letter H|name}. On {computer chips|place} it carries the clock "
            "signal, because {all ends are equally far from the middle|kin}. Branching at right angles keeps it "
            "compact.",
        ),
        one(
            "fractal-canopy", "fractal canopy", lambda: fractals.branches(8, 32, 0.74), 1, 1, points="128 tips",
            size="In this fractal canopy each branch is 0.74 times as long as the one below and turned by 32 "
            "degrees. Eight generations give {255 branches|count}; from root to tip it is {3.5 trunks long|length}.",
            shape="The fractal canopy is {a fractal tree|family}: {every branch splits into two shorter ones that "
            "lean to both sides by the same angle|rule}, and so on.",
            story="{Benoit Mandelbrot|person} discussed such trees. They model {the bronchi of the lung|place} and "
            "the growth of plants. A canopy is {the crown of a wood|name}. All {tips are equally far from the "
            "root|kin} along the branches.",
        ),
        one(
            "barnsley-fern", "Barnsley fern", fractals.barnsley_fern, 1, 0,
            size="The Barnsley fern is the meeting point of {four affine maps|count}, chosen with the chances 1, 85, "
            "7 and 7 in a hundred. It is {9.9 tall|size} in its own units, and this picture has some 2400 dots.",
            shape="The Barnsley fern is {the attractor of an iterated function system|family}: {a point jumps by "
            "maps chosen at random, for stem, leaflets left and right, and the smaller frond|rule}.",
            story="{Michael Barnsley|person} published it in Fractals Everywhere in 1988. It imitates {the black "
            "spleenwort, a fern|place}. It shows that {a few numbers can encode a living form|kin}. Ferns of other "
            "species need other numbers.",
        ),
    ]  # fmt: skip


def _paths() -> list[Entity]:
    return [
        one(
            "dragon-curve", "dragon curve", fractals.dragon_curve, 1, 0,
            size="After nine folds the dragon curve has {512 equal segments|count}. It is made of two copies of "
            "itself, smaller by the square root of 2. In the limit it fills an area; its rim has the dimension "
            "{about 1.524|dimension}.",
            shape="The dragon curve is {a paper-folding curve|family}: {a strip is folded in half over and over and "
            "unfolded to right angles|rule}. The line touches itself at corners but never crosses.",
            story="{John Heighway|person}, a physicist at NASA, studied it in 1966 with Bruce Banks and William "
            "Harter. It opens the chapters of {the novel Jurassic Park|place}. The name is for {its look of a sea "
            "monster|name}. Its copies {tile the plane|kin}.",
        ),
        one(
            "gosper-curve", "Gosper curve", fractals.gosper_curve, 1, 0, crossings=0,
            size="This third stage of the Gosper curve has {343 equal segments|count}. It fills an island whose rim "
            "has the dimension {about 1.129|dimension}; seven small islands form a larger one.",
            shape="The Gosper curve is {a space-filling curve|family}: {every segment is replaced by seven that turn "
            "in multiples of 60 degrees|rule}. It walks through a patch of hexagonal cells.",
            story="{Bill Gosper|person} discovered it, and Martin Gardner presented it in Scientific American in "
            "1976. It is also called {flowsnake|name}, a pun on snowflake. It orders cells on {hexagonal "
            "grids|place}. Seven copies {make a similar island|kin}.",
        ),
        one(
            "levy-c-curve", "Lévy C curve", fractals.levy_curve, 1, 1,
            size="After nine steps the Lévy C curve has {512 equal segments|count}. It is made of two copies of "
            "itself, smaller by the square root of 2. Its rim in the limit has the dimension {about 1.934|dimension}.",
            shape="The Lévy C curve is {a fractal curve|family}: {every segment is replaced by the two legs of a "
            "right triangle on it|rule}, always to the same side.",
            story="{Paul Lévy|person} described it in 1938 as self-similar; Ernesto Cesàro had met it in 1906. The "
            "name speaks of {its likeness to the letter C|name}. It looks like a tapestry. Alternating the sides "
            "{gives the dragon curve|kin}.",
        ),
        one(
            "fibonacci-word-fractal", "Fibonacci word fractal", fractals.fibonacci_word, 1, 1, crossings=0,
            size="The path of the Fibonacci word fractal at this stage has {986 steps|count}, one less than a "
            "Fibonacci number. In the limit its dimension is {about 1.638|dimension}: 3 log of the golden ratio "
            "over log of (1 + root 2).",
            shape="The Fibonacci word fractal is {a fractal curve|family}: {read the word letter by letter, step "
            "ahead, and after each zero turn left at even places and right at odd ones|rule}.",
            story="{Alexis Monnerot-Dumaine|person} described it in 2009. The word comes from {joining two former "
            "words to the next|kin}, as the Fibonacci numbers are added. Its bays recall {a coastline of square "
            "harbours|place}. It is named after {Leonardo of Pisa|name}.",
        ),
        one(
            "devils-staircase", "devil's staircase", fractals.devils_staircase, 2, 0, crossings=0,
            size="Over a base of 1 the devil's staircase climbs to {height 1|size}, although it is level almost "
            "everywhere. Its length is {exactly 2|length}, and the area below it is {one half|area}.",
            shape="The devil's staircase is {the graph of a function|family}: {it is constant on every middle third "
            "that is removed from the Cantor set|rule}, and rises only on the dust that is left.",
            story="{Georg Cantor|person} used the function in 1884; it is also called {the Cantor function|name}. It "
            "is {continuous without being the integral of its slope|kin}. Staircases of this kind appear in {coupled "
            "oscillators that lock their rhythm|place}.",
        ),
    ]  # fmt: skip


def _dynamics() -> list[Entity]:
    return [
        one(
            "mandelbrot-set", "Mandelbrot set", lambda: fractals.escape_outline(None, (-2.1, 0.7, -1.3, 1.3), 13), 1, 1,
            size="The Mandelbrot set reaches {from -2 to 1/4|size} on the real axis, and its area is {about "
            "1.507|area}. Its rim is so crinkled that it has the dimension {2|dimension}.",
            shape="The Mandelbrot set is {a set of complex numbers|family}: {those c for which z → z² + c, begun at "
            "0, stays bounded|rule}. A heart-shaped body carries discs, and those carry smaller ones.",
            story="It is named after {Benoit Mandelbrot|person}, who made computer pictures of it in 1980; Brooks "
            "and Matelski had printed one in 1978. In German it is called {apple manikin|name}. Its main body is {a "
            "cardioid|kin}. His pictures were made at {a research centre of IBM|place}.",
        ),
        one(
            "douady-rabbit", "Douady rabbit",
            lambda: fractals.escape_outline(-0.1226 + 0.7449j, (-1.6, 1.6, -1.3, 1.3), 11), 2, 0,
            size="The constant of the Douady rabbit is near c = -0.123 + 0.745 i, where 0 returns to itself {after "
            "three steps|count}. It lies {within distance 2|size} of the origin. At its pinch points three regions "
            "meet.",
            shape="The Douady rabbit is {a filled Julia set|family}: {the numbers that stay bounded under z → z² + c "
            "for a constant c of period three|rule}. Each body carries a pair of ears.",
            story="It is named after {Adrien Douady|person}, and after {its long ears|name}. Its constant is the "
            "centre of {a bulb of period three on the Mandelbrot set|kin}. Gaston Julia and Pierre Fatou founded the "
            "theory around 1918.",
        ),
        one(
            "basilica", "basilica", lambda: fractals.escape_outline(-1 + 0j, (-1.8, 1.8, -1.0, 1.0), 11), 2, 2,
            size="The constant of the basilica is c = -1, so that 0 goes to -1 and {back to 0 after two "
            "steps|count}. It reaches from -1.618 to {1.618, the golden ratio|size}, along the real axis.",
            shape="The basilica is {a filled Julia set|family}: {the numbers that stay bounded under z → z² - "
            "1|rule}. Discs of all sizes hang together at points, like beads on a string.",
            story="It is named after {the Basilica of San Marco in Venice|name} with its reflection in {flooded "
            "ground|place}, a name given by {Benoit Mandelbrot|person}. Its constant is the centre of {the largest "
            "disc of the Mandelbrot set|kin}.",
        ),
        one(
            "henon-attractor", "Hénon attractor", fractals.henon_attractor, 1, 0,
            size="With the usual constants 1.4 and 0.3, each step of the Hénon attractor shrinks areas to 0.3 times "
            "their size. Its dimension is {about 1.26|dimension}; across, it is a Cantor set.",
            shape="The Hénon attractor is {a strange attractor|family}: {the points (x, y) go to (1 - 1.4 x² + y, "
            "0.3 x)|rule}, and nearly all of them soon dance along the same bent sheet of lines.",
            story="The astronomer {Michel Hénon|person} presented it in 1976, as {a simple model of the Lorenz "
            "system|kin}. He had studied {the motion of stars|place}. It looks like a boomerang.",
        ),
        one(
            "bifurcation-diagram", "bifurcation diagram", fractals.logistic_fork, 1, 0,
            size="In the bifurcation diagram the first fork stands at 3. The distances between forks shrink by the "
            "factor 4.669, Feigenbaum's constant. Within the chaos there is a window with {three branches|count} "
            "near 3.83.",
            shape="The bifurcation diagram is {a picture of a dynamical system|family}: {above each r stand the "
            "values on which x → r x (1 - x) settles|rule}. One line splits into two, four, eight, and then chaos.",
            story="{Robert May|person} made the equation famous in 1976 as {a model of animal populations|place}. It "
            "is also called {the fig tree|name}, the meaning of the name Feigenbaum. It {corresponds to the "
            "Mandelbrot set along the real axis|kin}.",
        ),
    ]  # fmt: skip
