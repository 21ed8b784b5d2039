"""From PIL pictures to the pixels that a vision tower takes, and which part of a picture each patch sees.

Knows the preprocessing of CLIP (short side to the tower's size, centre crop, CLIP's mean and deviation), what CLIP's
kin change of it, and that of MobileNetV2 (squashed to a square, -1..1).  Knows nothing of files or models.

Shapes: B pictures, S side of the tower's picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flmr.errors import InvalidInput
from flmr.records import Region

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
SMALLEST_CROP = 5  # pixels; the published preparation enlarges what is smaller
_MOBILENET = "flmr_mobilenet_v2"


@dataclass(frozen=True)
class Framing:
    """How a picture becomes S x S pixels: scaled, cropped at the centre, less `mean`, by `deviation` (0..1 colours).

    resize: "shortest" scales the short side to S, "squash" both sides.  rounded: an odd margin is cropped as
    torchvision does it, half of it rounded to even, rather than rounded down.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    deviation: tuple[float, ...] = CLIP_DEVIATION
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash"] = "shortest"
    rounded: bool = False

    def pixels(self, images: Sequence[Image]) -> torch.Tensor:
        """Pixels of RGB pictures: (B, 3, S, S) float32."""
        import torch

        pixels_B3SS = np.empty((len(images), 3, self.size, self.size), np.float32)
        for i, image in enumerate(images):
            pixels_B3SS[i] = self._one(image).transpose(2, 0, 1)
        return torch.from_numpy(pixels_B3SS)

    def _one(self, image: Image) -> np.ndarray:
        from PIL import Image as PILImage

        size = self.size
        width, height = _resized(image.size, size) if self.resize == "shortest" else (size, size)
        resized = image.resize((width, height), PILImage.Resampling[self.interpolation.upper()])
        left, top = (round(margin / 2) if self.rounded else margin // 2 for margin in (width - size, height - size))
        pixels = np.asarray(resized.crop((left, top, left + size, top + size)), np.float32) / 255
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)


def preprocess(images: Sequence[Image], config: Any) -> torch.Tensor:
    """Pixels of RGB pictures: (B, 3, S, S) float32.

    config: an FLMRConfig or its vision_config.  Raises InvalidInput where an image is not an RGB picture.
    """
    import torch

    vision = getattr(config, "vision_config", config)
    size = int(vision.image_size)
    for i, image in enumerate(images):
        if getattr(image, "mode", None) != "RGB":
            raise InvalidInput(f"image {i} is not an RGB picture; open it with flmr.images.load_image")
    if vision.model_type != _MOBILENET:
        return Framing(size).pixels(images)
    pixels_B3SS = np.empty((len(images), 3, size, size), np.float32)
    for i, image in enumerate(images):
        pixels_B3SS[i] = _mobilenet_pixels(image, size).transpose(2, 0, 1)
    return torch.from_numpy(pixels_B3SS)


def patch_regions(image_size: tuple[int, int], config: Any) -> tuple[Region, ...]:
    """The part of a (width, height) picture that each patch stands for, row by row, in the order of patch rows."""
    vision = getattr(config, "vision_config", config)
    if vision.model_type == _MOBILENET:
        side, (left, top, right, bottom) = -(-int(vision.image_size) // 32), (0.0, 0.0, 1.0, 1.0)
    else:
        side = int(vision.image_size) // int(vision.patch_size)
        left, top, right, bottom = _visible_part(image_size, int(vision.image_size))
        covered = side * int(vision.patch_size) / int(vision.image_size)  # pixels beyond the last patch are not seen
        right, bottom = left + (right - left) * covered, top + (bottom - top) * covered
    xs = np.clip(np.linspace(left, right, side + 1), 0, 1).tolist()
    ys = np.clip(np.linspace(top, bottom, side + 1), 0, 1).tolist()
    return tuple(Region(xs[c], ys[r], xs[c + 1], ys[r + 1]) for r in range(side) for c in range(side))


def crop(image: Image, region: Region) -> Image:
    """The part of a picture, of whole pixels, at least five to a side where the picture has them."""
    box = []
    for low, high, side in ((region.left, region.right, image.width), (region.top, region.bottom, image.height)):
        first, last = math.floor(low * side + 1e-6), math.ceil(high * side - 1e-6)
        first = max(0, min(first, (first + last - SMALLEST_CROP) // 2, side - SMALLEST_CROP))
        box.append((first, min(side, max(last, first + SMALLEST_CROP))))
    (left, right), (top, bottom) = box
    return image.crop((left, top, right, bottom))


def black_picture() -> Image:
    """What stands for the picture of a query without one, where a model was trained so; its size is the published."""
    from PIL import Image as PILImage

    return PILImage.new("RGB", (336, 336))


def _mobilenet_pixels(image: Image, size: int) -> np.ndarray:
    from PIL import Image as PILImage

    resized = image.resize((size, size), PILImage.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(127.5) - 1


def _resized(image_size: tuple[int, int], short: int) -> tuple[int, int]:
    width, height = image_size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _visible_part(image_size: tuple[int, int], size: int) -> tuple[float, float, float, float]:
    width, height = _resized(image_size, size)
    left, top = (width - size) // 2, (height - size) // 2
    return left / width, top / height, (left + size) / width, (top + size) / height
