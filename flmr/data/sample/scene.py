"""One figure in one pose on a square sheet: masks of its line, its body and its stitches, and the paper's noise.

Knows poses, supersampling and random textures.  Knows no colours and no styles.

Shapes: S side of the picture in pixels; a mask is (S, S) float32 within 0..1; a colour is three floats within 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from flmr.data.sample.figure import Figure, is_closed, length, resample

SUPERSAMPLING = 3


class Scene:
    """A posed figure and a random generator; every mask is drawn anew and nothing is kept between calls."""

    def __init__(self, figure: Figure, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.kind = figure.kind
        # dense figures get a finer pen, so that they do not fill up
        self.pen = float(np.clip(np.sqrt(9.0 / length(figure)), 0.34, 1.0))
        if self.kind == "dots":
            self.pen = float(np.clip(15 / np.sqrt(len(figure.points)), 0.36, 1.0))
        self.strokes = _posed(figure, size, rng)

    @property
    def fillable(self) -> bool:
        """Whether the figure has an inside."""
        return self.kind in ("outline", "solid")

    def line(self, width: float, wobble: float = 0.0) -> np.ndarray:
        """The figure as a pen line; width in hundredths of the side.  A solid figure or a cloud is drawn as it is."""
        if self.kind == "solid":
            return self.fill()
        if self.kind == "dots":
            return self.dots(self.strokes[0], (0.55 + 0.2 * width) * self.pen)
        image, draw = self._sheet()
        pixels = max(2, round(width * self.pen * self.size * SUPERSAMPLING / 100))
        for stroke in self.strokes:
            points = stroke if not wobble else stroke + self._drift(len(stroke), wobble)
            flat = [tuple(p) for p in points.tolist()]
            if is_closed(stroke):
                flat.append(flat[1])
            draw.line(flat, fill=255, width=pixels, joint="curve" if pixels > 3 and len(flat) < 700 else None)
        return self._down(image)

    def fill(self) -> np.ndarray:
        """The inside of the figure by the even-odd rule; pieces of a solid figure are joined."""
        image, draw = self._sheet()
        if self.kind == "solid":
            for stroke in self.strokes:
                draw.polygon([tuple(p) for p in stroke.tolist()], fill=255)
            return self._down(image)
        for i, stroke in enumerate(self.strokes):
            if i == 0:
                draw.polygon([tuple(p) for p in stroke.tolist()], fill=255)
                continue
            other, pen = self._sheet()
            pen.polygon([tuple(p) for p in stroke.tolist()], fill=255)
            image = ImageChops.difference(image, other)
        return self._down(image)

    def body(self, width: float) -> np.ndarray:
        """The inside where there is one, else a broad line of that width."""
        return self.fill() if self.fillable else self.line(width)

    def beads(self, step: float, radius: float) -> np.ndarray:
        """Round beads along the line; step and radius in hundredths of the side."""
        return self.dots(self._spaced(step), radius)

    def stitches(self, step: float, width: float) -> np.ndarray:
        """Short dashes along the line, with gaps; step and width in hundredths of the side."""
        if self.kind == "dots":
            return self.dots(self.strokes[0], 0.5 * width * self.pen)
        image, draw = self._sheet()
        pixels = max(2, round(width * self.size * SUPERSAMPLING / 100))
        for points in self._paths(step):
            along = 0.36 * (points[1:] - points[:-1])
            middle = (points[1:] + points[:-1]) / 2
            for a, b in zip((middle - along).tolist(), (middle + along).tolist(), strict=True):
                draw.line([tuple(a), tuple(b)], fill=255, width=pixels)
        return self._down(image)

    def dots(self, points: np.ndarray, radius: float) -> np.ndarray:
        """Round dots at points (in supersampled pixels); radius in hundredths of the side."""
        image, draw = self._sheet()
        r = max(0.9, radius * self.size * SUPERSAMPLING / 100)
        for x, y in points.tolist():
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        return self._down(image)

    def blur(self, mask: np.ndarray, radius: float) -> np.ndarray:
        """Gaussian blur; radius in hundredths of the side."""
        image = Image.fromarray(np.asarray(np.clip(mask, 0, 1) * 255, np.uint8))
        blurred = image.filter(ImageFilter.GaussianBlur(radius * self.size / 100))
        return np.asarray(blurred, np.float32) / 255

    def shifted(self, mask: np.ndarray, dx: float, dy: float) -> np.ndarray:
        """The mask moved by hundredths of the side; what leaves on one side is lost."""
        x, y = round(dx * self.size / 100), round(dy * self.size / 100)
        moved = np.roll(mask, (y, x), (0, 1))
        if y:
            moved[slice(None, y) if y > 0 else slice(y, None)] = 0
        if x:
            moved[:, slice(None, x) if x > 0 else slice(x, None)] = 0
        return moved

    def clouds(self, cells: int) -> np.ndarray:
        """Smooth random values, about `cells` hills across: (S, S), mean about 0, spread about 1."""
        grid = self.rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
        box = (0.7, 0.7, cells + 1.7, cells + 1.7)
        image = Image.fromarray(grid).resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        return np.asarray(image, np.float32)

    def grain(self) -> np.ndarray:
        """Independent noise for each pixel: (S, S), mean 0, spread 1."""
        return self.rng.standard_normal((self.size, self.size), dtype=np.float32)

    def fibres(self, along: int) -> np.ndarray:
        """Noise drawn out along x (along=1) or y (along=0): threads, brush hairs."""
        shape = (self.size, 6) if along else (6, self.size)
        noise = self.rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(Image.fromarray(noise).resize((self.size, self.size), Image.Resampling.BICUBIC), np.float32)

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of each pixel, -1 to 1."""
        return _coordinates(self.size)

    def ramp(self) -> np.ndarray:
        """A linear gradient in a random direction: (S, S), 0 to 1."""
        angle = self.rng.uniform(0, 2 * pi)
        x, y = self.coordinates()
        along = x * cos(angle) + y * sin(angle)
        return np.asarray(along / (2 * (abs(cos(angle)) + abs(sin(angle)))) + 0.5, np.float32)

    def vignette(self, strength: float) -> np.ndarray:
        """Light that falls off to the corners, from a random middle: a factor for each pixel."""
        x, y = self.coordinates()
        cx, cy = self.rng.uniform(-0.35, 0.35, 2)
        return np.asarray(1 - strength * ((x - cx) ** 2 + (y - cy) ** 2) / 2.6, np.float32)

    def _spaced(self, step: float) -> np.ndarray:
        if self.kind == "dots":
            return self.strokes[0]
        return np.concatenate(self._paths(step))

    def _paths(self, step: float) -> list[np.ndarray]:
        return [resample(s, step * self.size * SUPERSAMPLING / 100) for s in self.strokes]

    def _drift(self, num: int, amount: float) -> np.ndarray:
        """A slow wander of a hand-drawn line: (num, 2) in supersampled pixels."""
        knots = self.rng.normal(0, amount * self.size * SUPERSAMPLING / 100, (8, 2))
        knots[-1] = knots[0]
        at, grid = np.linspace(0, 7, num), np.arange(8)
        return np.stack([np.interp(at, grid, knots[:, 0]), np.interp(at, grid, knots[:, 1])], 1)

    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (self.size * SUPERSAMPLING,) * 2)
        return image, ImageDraw.Draw(image)

    def _down(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.reduce(SUPERSAMPLING), np.float32) / 255


def _posed(figure: Figure, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Turn, scale, shear, tilt and shift the unit figure into the picture, in supersampled pixels."""
    side = size * SUPERSAMPLING
    angle = rng.uniform(0, 2 * pi)
    turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    lean = rng.uniform(0, 2 * pi)
    axes = np.array([[cos(lean), -sin(lean)], [sin(lean), cos(lean)]])
    squeeze = axes @ np.diag([1.0, rng.uniform(0.84, 1.0)]) @ axes.T
    tilt = rng.uniform(-0.09, 0.09, 2)
    scale = rng.uniform(0.66, 0.92)
    points = figure.points @ (squeeze @ turn).T
    points = points / (1 + points @ tilt)[:, None]
    # turned figures that are long and thin may be shifted further than round ones
    low, high = points.min(0) * scale, points.max(0) * scale
    middle = rng.uniform(np.minimum(-0.95 - low, 0.95 - high), np.maximum(-0.95 - low, 0.95 - high))
    middle = np.clip(middle, -0.16, 0.16) if (high - low).max() > 1.2 else np.clip(middle, -0.4, 0.4)
    pixels = (points * scale + middle) * side / 2 + side / 2
    ends = np.cumsum([len(s) for s in figure.strokes])[:-1]
    return np.split(pixels, ends)


def thinned(figure: Figure, step: float = 0.016) -> Figure:
    """The unit figure without the points that lie closer together than step: corners and ends stay."""
    unit = figure.unit()
    if unit.kind == "dots":
        return unit
    strokes: list[np.ndarray] = []
    for stroke in unit.strokes:
        along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(stroke, axis=0) ** 2).sum(1)))])
        keep = np.unique(np.floor(along / step), return_index=True)[1]
        strokes.append(stroke[np.union1d(keep, [len(stroke) - 1])])
    return Figure(tuple(strokes), unit.kind)


@cache
def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return np.broadcast_to(axis[None, :], (size, size)), np.broadcast_to(axis[:, None], (size, size))


def mix(below: np.ndarray, above: np.ndarray | Sequence[float], mask: np.ndarray) -> np.ndarray:
    """Lay a colour or picture over another where the mask says: (S, S, 3)."""
    return np.asarray(below + (np.asarray(above, np.float32) - below) * mask[..., None], np.float32)
