"""The ways a figure is drawn: ink, chalk, neon, blueprint, gold, embroidery ... each a function of a scene.

Knows colours, light and materials.  Knows no figures and no splits of questions beyond which styles are held out.
Every style returns a picture (S, S, 3) float32, nominally within 0..1, and takes all its chance from the scene.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from math import cos, pi, sin

import numpy as np

from flmr.data.sample.scene import Scene, mix

Style = Callable[[Scene], np.ndarray]


def hsv(h: float, s: float, v: float) -> np.ndarray:
    """A colour from hue (turns), saturation and value."""
    return np.array(colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)), np.float32)


def flat(scene: Scene, colour: np.ndarray) -> np.ndarray:
    """A sheet of one colour."""
    return np.broadcast_to(colour, (scene.size, scene.size, 3)).astype(np.float32)


def shaded(picture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) times a factor for each pixel (S, S)."""
    return np.asarray(picture * factor[..., None], np.float32)


def paper(scene: Scene, colour: np.ndarray, roughness: float = 0.02) -> np.ndarray:
    """Paper: large stains, fine grain, light from somewhere."""
    tone = 1 + roughness * (0.9 * scene.clouds(3) + 0.8 * scene.clouds(24) + 0.6 * scene.grain())
    return shaded(flat(scene, colour), tone * scene.vignette(scene.rng.uniform(0.05, 0.3)))


def relief(scene: Scene, height: np.ndarray, strength: float) -> np.ndarray:
    """Light and shade on a height map lit from a random side: about 0, positive towards the light."""
    angle = scene.rng.uniform(0, 2 * pi)
    slope_y, slope_x = np.gradient(height)
    return np.asarray(strength * (slope_x * cos(angle) + slope_y * sin(angle)), np.float32)


def ink(scene: Scene) -> np.ndarray:
    """A pen on cream paper; the line swells, and the body may carry a faint wash."""
    rng = scene.rng
    sheet = paper(scene, hsv(rng.uniform(0.08, 0.15), rng.uniform(0.03, 0.2), rng.uniform(0.88, 0.99)), 0.022)
    colour = hsv(rng.choice([0.6, 0.65, 0.07, 0.98, 0.42]), rng.uniform(0.2, 0.85), rng.uniform(0.05, 0.32))
    mask = scene.line(rng.uniform(1.5, 3.2), wobble=rng.uniform(0, 0.35))
    if scene.kind == "outline" and rng.random() < 0.3:
        sheet = mix(sheet, colour, scene.fill() * rng.uniform(0.1, 0.25))
    return mix(sheet, colour, mask * np.clip(0.93 + 0.06 * scene.clouds(9), 0, 1))


def chalk(scene: Scene) -> np.ndarray:
    """Chalk on a slate or green board with wiped traces."""
    rng = scene.rng
    board = hsv(rng.uniform(0.38, 0.62), rng.uniform(0.12, 0.5), rng.uniform(0.14, 0.28))
    smears = 0.028 * scene.clouds(3) + 0.02 * scene.fibres(int(rng.integers(2))) + 0.012 * scene.grain()
    sheet = flat(scene, board) + np.maximum(smears, -0.05)[..., None]
    colour = hsv(rng.choice([0.14, 0.55, 0.93, 0.33, 0.06]), rng.choice([0.0, 0.08, 0.35]), rng.uniform(0.88, 1.0))
    mask = scene.line(rng.uniform(2.0, 3.6), wobble=rng.uniform(0, 0.3))
    dusty = mask * np.clip(0.82 + 0.26 * scene.grain(), 0.15, 1)
    return mix(mix(sheet, colour, scene.blur(mask, 1.6) * 0.2), colour, dusty)


def neon(scene: Scene) -> np.ndarray:
    """A glowing tube before a dark wall."""
    rng = scene.rng
    hue = rng.random()
    wall = hsv(hue + rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9), rng.uniform(0.07, 0.2))
    far = hsv(hue + rng.uniform(-0.1, 0.2), 0.8, rng.uniform(0.05, 0.25))
    sheet = mix(flat(scene, wall), far, scene.ramp()) * scene.vignette(0.5)[..., None]
    tube = scene.line(rng.uniform(1.7, 2.8))
    first, second = hsv(hue, rng.uniform(0.65, 0.95), 1.0), hsv(hue + rng.uniform(-0.16, 0.16), 0.85, 1.0)
    light = mix(flat(scene, first), second, scene.ramp())
    glow = 0.85 * scene.blur(tube, 2.2) + 0.75 * scene.blur(tube, 6.5)
    lit = sheet + light * glow[..., None]
    return mix(lit, 0.35 * light + 0.65, scene.blur(tube, 0.5) * 0.95)


def blueprint(scene: Scene) -> np.ndarray:
    """White lines on blue squared paper."""
    rng = scene.rng
    blue = hsv(rng.uniform(0.56, 0.64), rng.uniform(0.6, 0.85), rng.uniform(0.38, 0.66))
    sheet = paper(scene, blue, 0.02)
    step = int(rng.integers(9, 17) * scene.size / 128)
    grid = np.zeros((scene.size, scene.size), np.float32)
    begin = rng.integers(step, size=2)
    grid[begin[0] :: step] = 1
    grid[:, begin[1] :: step] = 1
    sheet = mix(sheet, (0.75, 0.87, 1.0), grid * rng.uniform(0.1, 0.26))
    if scene.kind == "outline" and rng.random() < 0.3:
        sheet = mix(sheet, (0.8, 0.9, 1.0), scene.fill() * 0.14)
    return mix(sheet, (0.95, 0.98, 1.0), scene.line(rng.uniform(1.4, 2.6)) * 0.95)


def cutout(scene: Scene) -> np.ndarray:
    """Coloured paper cut out and laid on another with a soft shadow."""
    rng = scene.rng
    hue = rng.random()
    ground = hsv(hue, rng.uniform(0.12, 0.45), rng.uniform(0.8, 0.98))
    colour = hsv(hue + rng.uniform(0.25, 0.75), rng.uniform(0.5, 0.88), rng.uniform(0.45, 0.95))
    mask = scene.body(rng.uniform(3.4, 4.8))
    sheet = paper(scene, ground, 0.012)
    shadow = scene.blur(scene.shifted(mask, rng.uniform(-2.6, 2.6), rng.uniform(1.2, 3.0)), 1.8)
    sheet = sheet * (1 - 0.5 * shadow)[..., None]
    card = flat(scene, colour) * (1 + 0.02 * scene.grain() + 0.06 * (scene.ramp() - 0.5))[..., None]
    return mix(sheet, card, mask)


def watercolour(scene: Scene) -> np.ndarray:
    """A wash that pools at its edges, two pigments running into each other."""
    rng = scene.rng
    sheet = paper(scene, hsv(0.12, rng.uniform(0.0, 0.08), rng.uniform(0.94, 1.0)), 0.018)
    hue = rng.random()
    first = hsv(hue, rng.uniform(0.55, 0.9), rng.uniform(0.5, 0.85))
    second = hsv(hue + rng.uniform(0.08, 0.3), rng.uniform(0.55, 0.9), rng.uniform(0.5, 0.85))
    mask = scene.body(rng.uniform(3.4, 5.0))
    soft = scene.blur(mask, 1.2)
    pool = np.clip((soft - scene.blur(mask, 3.5)) * 1.2, 0, 1) + (1 - np.abs(2 * soft - 1)) * 0.25
    pigment = mix(flat(scene, first), second, np.clip(0.5 + 0.6 * scene.clouds(3), 0, 1))
    strength = np.clip(0.58 + 0.1 * scene.clouds(6) + 0.03 * scene.grain() + pool * 0.7, 0, 1)
    wash = soft * strength
    return mix(sheet, pigment * sheet, wash)


def sunset(scene: Scene) -> np.ndarray:
    """A poster: a two-colour sky, a broad line whose colour runs along the picture."""
    rng = scene.rng
    hue = rng.random()
    low, high = hsv(hue, rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.95)), hsv(hue + 0.12, rng.uniform(0.3, 0.8), 0.5)
    sheet = mix(flat(scene, low), high, scene.ramp()) + 0.012 * scene.grain()[..., None]
    dark = float(low.mean() + high.mean()) / 2 < 0.55
    value = rng.uniform(0.92, 1.0) if dark else rng.uniform(0.1, 0.3)
    turn = hue + rng.uniform(0.3, 0.6)
    ends = hsv(turn, rng.uniform(0.2, 0.7), value), hsv(turn + rng.uniform(0.1, 0.3), rng.uniform(0.2, 0.7), value)
    mask = scene.line(rng.uniform(2.4, 4.4))
    return mix(sheet, mix(flat(scene, ends[0]), ends[1], scene.ramp()), mask)


def embroidery(scene: Scene) -> np.ndarray:
    """Stitches of thread in woven cloth."""
    rng = scene.rng
    cloth = hsv(rng.random(), rng.uniform(0.1, 0.55), rng.uniform(0.3, 0.92))
    period = rng.uniform(2.2, 3.2) * scene.size / 128
    x, y = scene.coordinates()
    weave = np.sin(x * pi * scene.size / period) * np.sin(y * pi * scene.size / period)
    tone = 1 + 0.07 * weave + 0.05 * scene.fibres(0) + 0.05 * scene.fibres(1)
    sheet = flat(scene, cloth) * (tone * scene.vignette(0.25))[..., None]
    bright = float(cloth.mean()) < 0.58
    thread = hsv(rng.random(), rng.uniform(0.35, 0.85), rng.uniform(0.85, 1.0) if bright else rng.uniform(0.15, 0.5))
    mask = scene.stitches(rng.uniform(3.4, 4.8) * max(scene.pen, 0.6), rng.uniform(1.9, 2.9) * scene.pen)
    shadow = scene.blur(scene.shifted(mask, 1.0, 1.0), 0.8)
    shine = 1 + 2.0 * relief(scene, scene.blur(mask, 0.7), 0.35)
    return mix(sheet * (1 - 0.4 * shadow)[..., None], flat(scene, thread) * shine[..., None], mask)


def gold(scene: Scene) -> np.ndarray:
    """Metal leaf on dark lacquer."""
    rng = scene.rng
    lacquer = hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.06, 0.24))
    sheet = flat(scene, lacquer) * scene.vignette(0.5)[..., None] + 0.02 * np.abs(scene.clouds(5))[..., None]
    dark, light = (
        [(0.50, 0.34, 0.10), (0.55, 0.57, 0.62), (0.55, 0.28, 0.18)],
        [
            (1.0, 0.90, 0.56),
            (0.97, 0.98, 1.0),
            (1.0, 0.78, 0.62),
        ],
    )
    metal = int(rng.integers(3))
    gleam = 0.5 + 0.5 * np.sin(scene.ramp() * rng.uniform(7, 15) + 0.7 * scene.clouds(4) + rng.uniform(0, 6))
    leaf = mix(flat(scene, np.array(dark[metal])), light[metal], gleam)
    mask = scene.line(rng.uniform(2.0, 3.8)) if rng.random() < 0.65 else scene.body(3.4)
    edge = 1 + relief(scene, scene.blur(mask, 0.9), 1.6)
    return mix(sheet, leaf * edge[..., None], mask)


def pencil(scene: Scene) -> np.ndarray:
    """Graphite or red chalk, gone over several times."""
    rng = scene.rng
    sheet = paper(scene, hsv(rng.uniform(0.06, 0.16), rng.uniform(0.0, 0.28), rng.uniform(0.8, 0.97)), 0.03)
    width = rng.uniform(1.1, 1.7)
    passes = [scene.line(width, wobble=0.55) for _ in range(2)]
    mask = 1 - (1 - 0.7 * passes[0]) * (1 - 0.6 * passes[1])
    if scene.kind == "outline":
        angle = rng.uniform(0, pi)
        x, y = scene.coordinates()
        strokes = 0.5 + 0.5 * np.sin((x * cos(angle) + y * sin(angle)) * rng.uniform(70, 110) + scene.clouds(4))
        mask = np.maximum(mask, scene.fill() * strokes * rng.uniform(0.0, 0.45))
    colour = hsv(rng.choice([0.02, 0.62, 0.1]), rng.choice([0.08, 0.7]), rng.uniform(0.15, 0.38))
    return mix(sheet, colour, mask * np.clip(0.92 + 0.2 * scene.grain(), 0.3, 1))


def enamel(scene: Scene) -> np.ndarray:
    """Glass between dark leads: hues turn about the middle, inside and outside differ."""
    rng = scene.rng
    x, y = scene.coordinates()
    hue, twist = rng.random(), rng.uniform(0.15, 0.5)
    around = np.arctan2(y, x) / (2 * pi) + scene.clouds(3) * 0.06
    rainbow = [0.5 + 0.5 * np.cos(2 * pi * (hue + twist * np.abs(around) * 2 + k / 3)) for k in range(3)]
    inner = 0.22 + 0.72 * np.stack(rainbow, -1).astype(np.float32)
    ground = hsv(hue + 0.5, rng.uniform(0.15, 0.5), rng.uniform(0.7, 0.95))
    sheet = flat(scene, ground) * (1 + 0.04 * scene.clouds(7))[..., None]
    lead = scene.line(rng.uniform(1.8, 3.0))
    if scene.kind == "outline":
        sheet = mix(sheet, inner, scene.fill())
        return shaded(mix(sheet, hsv(hue, 0.2, 0.1), lead), scene.vignette(0.3))
    if scene.kind == "solid":
        return shaded(mix(sheet, inner * 0.8, lead), scene.vignette(0.3))
    halo = np.clip(scene.blur(lead, 4.0) * 1.6, 0, 1)
    return shaded(mix(mix(sheet, inner, halo * 0.7), hsv(hue, 0.3, 0.12), lead), scene.vignette(0.3))


def sand(scene: Scene) -> np.ndarray:
    """A groove drawn in raked sand, lit from one side."""
    rng = scene.rng
    grain = hsv(rng.uniform(0.06, 0.13), rng.uniform(0.2, 0.5), rng.uniform(0.7, 0.92))
    groove = scene.line(rng.uniform(3.0, 4.4))
    soft = scene.blur(groove, 0.9)
    height = 0.05 * scene.clouds(10) - soft + 0.45 * scene.blur(groove, 2.6)
    light = 1 + relief(scene, height, 2.1) - 0.2 * soft + 0.055 * scene.grain()
    return shaded(flat(scene, grain), light * scene.vignette(0.35))


def engraving(scene: Scene) -> np.ndarray:
    """Held out for valid: a copperplate, ground and body hatched in two directions."""
    rng = scene.rng
    plate = rng.random() < 0.5
    sheet = paper(scene, hsv(0.06, 0.55, 0.78) if plate else hsv(0.1, 0.12, 0.95), 0.03)
    x, y = scene.coordinates()
    angle = rng.uniform(0, pi)
    pitch = rng.uniform(75, 105)
    hatch = [np.sin((x * cos(a) + y * sin(a)) * pitch + 0.3 * scene.clouds(3)) for a in (angle, angle + 1.2)]
    mask = scene.line(rng.uniform(1.6, 2.4))
    cut = np.clip(0.55 * (hatch[0] > 0.5) * np.clip(scene.ramp() - 0.1, 0, 1), 0, 1)
    if scene.kind == "outline":
        cut = np.maximum(cut, scene.fill() * (hatch[1] > 0.25) * 0.75)
    else:
        cut = np.maximum(cut, np.clip(scene.blur(mask, 3.0) * 2, 0, 1) * (hatch[1] > 0.25) * 0.5)
    return mix(sheet, hsv(0.05, 0.6, 0.16), np.maximum(cut, mask))


def linocut(scene: Scene) -> np.ndarray:
    """Held out for test: a print from a carved block, light on strong colour, with stray gouges."""
    rng = scene.rng
    colour = hsv(rng.choice([0.0, 0.58, 0.38, 0.08, 0.8]), rng.uniform(0.55, 0.85), rng.uniform(0.25, 0.6))
    white = paper(scene, hsv(0.12, 0.08, 0.97), 0.015)
    carved = scene.line(rng.uniform(2.8, 4.2)) if rng.random() < 0.6 else scene.body(3.6)
    gouges = (scene.fibres(int(rng.integers(2))) * scene.clouds(9) > 1.5) * (
        1 - np.clip(scene.blur(carved, 3) * 4, 0, 1)
    )
    inked = np.clip(1 - carved - 0.8 * gouges, 0, 1) * np.clip(0.97 + 0.06 * scene.grain(), 0.7, 1)
    return mix(white, colour, inked)


def lights(scene: Scene) -> np.ndarray:
    """Held out for test: strings of small lamps at night."""
    rng = scene.rng
    night = mix(
        flat(scene, hsv(rng.uniform(0.55, 0.8), 0.7, 0.12)), hsv(rng.uniform(0.6, 0.95), 0.6, 0.3), scene.ramp()
    )
    lamps = scene.beads(max(rng.uniform(2.3, 3.0) * scene.pen, 1.5), rng.uniform(0.75, 1.0) * max(scene.pen, 0.6))
    warm = mix(flat(scene, hsv(rng.uniform(0.08, 0.14), 0.6, 1.0)), hsv(rng.random(), 0.5, 1.0), scene.ramp())
    glow = 0.8 * scene.blur(lamps, 1.6) + 0.6 * scene.blur(lamps, 5.0)
    return mix(night + warm * glow[..., None], 0.3 * warm + 0.7, lamps)


def ice(scene: Scene) -> np.ndarray:
    """Held out for test: a raised body of ice or glass, seen by its reflections alone."""
    rng = scene.rng
    cold = hsv(rng.uniform(0.46, 0.66), rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.9))
    mask = scene.body(3.8) if rng.random() < 0.5 else scene.line(rng.uniform(3.0, 4.4))
    soft = scene.blur(mask, 1.1)
    light = relief(scene, soft, 3.2)
    body = flat(scene, cold) * (1 + 0.07 * scene.clouds(4) + 0.015 * scene.grain())[..., None]
    lit = mix(body, (1.0, 1.0, 1.0), 0.22 * mask) + light[..., None] * np.array([0.8, 0.9, 1.0], np.float32)
    shadow = scene.blur(scene.shifted(mask, 1.6, 2.0), 2.0)
    return shaded(lit, 1 - 0.3 * shadow * (1 - mask))


TRAIN_STYLES: dict[str, Style] = {
    "ink": ink,
    "chalk": chalk,
    "neon": neon,
    "blueprint": blueprint,
    "cutout": cutout,
    "watercolour": watercolour,
    "sunset": sunset,
    "embroidery": embroidery,
    "gold": gold,
    "pencil": pencil,
    "enamel": enamel,
    "sand": sand,
}
VALID_STYLES: dict[str, Style] = {"engraving": engraving}
TEST_STYLES: dict[str, Style] = {"linocut": linocut, "lights": lights, "ice": ice}
STYLES: dict[str, Style] = TRAIN_STYLES | VALID_STYLES | TEST_STYLES
