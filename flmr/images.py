"""One door for pictures: a path, bytes or a PIL image becomes an upright RGB picture, or a clear error.

Knows file types, sizes, colour modes, transparency and EXIF orientation.  Knows nothing of models, and never downloads.
Pillow is imported on the first call, and none of its global settings is read or changed here.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flmr.errors import InvalidInput, MissingExtra, UnreadableImage
from flmr.records import ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WHITE = (255, 255, 255)

# What a file that is no picture of ours begins with, and what to say of it.
_OTHER_TYPES = (
    (rb"%PDF", "a PDF; render its pages to PNG first"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg", "an SVG drawing; render it to PNG first"),
    (rb"\s*(<!doctype html|<html)", "a web page, perhaps of a failed download; fetch the picture itself"),
    (rb"....ftyp(heic|heix|mif1|avif|avis)", "HEIC or AVIF; convert it to PNG or JPEG first"),
    (rb"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (rb"\x1f\x8b|PK\x03\x04", "an archive; unpack it first"),
)
_STARTS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def load_image(source: ImageSource, *, max_pixels: int = 100_000_000) -> Image:
    """The picture as upright RGB: transparency over white, the first frame of an animation, 16-bit grey scaled to 8.

    source: a path, the bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file, or a PIL image (its current frame).  The
    size in the header is checked before anything is decoded; Pillow's own limit on pixels holds as well.  A picture
    with damaged EXIF data is taken as it is stored, as viewers do.
    Raises UnreadableImage where the picture is missing, truncated, damaged, too large, or of another type.
    """
    if max_pixels < 1:
        raise InvalidInput(f"max_pixels must be at least 1, not {max_pixels}")
    with _opened(source, max_pixels) as (image, name):
        width, height = image.size
        _check_size(width, height, max_pixels, name)
        if width == 0 or height == 0:
            raise UnreadableImage(f"{name} is empty ({width} x {height} pixels)")
        try:
            image.load()
            return _upright(_rgb(image, name), _orientation(image))
        except UnreadableImage:
            raise
        except MemoryError:
            raise UnreadableImage(f"{name} ({width} x {height}) does not fit into memory: shrink it first") from None
        except (
            Exception
        ) as error:  # decoders raise whatever the damage leads them to: OSError, SyntaxError, struct.error
            raise UnreadableImage(f"{name} is truncated or damaged: {error}") from error


@contextlib.contextmanager
def _opened(source: ImageSource, max_pixels: int) -> Iterator[tuple[Image, str]]:
    """The picture with its header read and nothing decoded, and its name in errors; a file is closed at the end."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtra("pictures need Pillow: pip install pillow") from None

    if isinstance(source, Image.Image):
        yield source, "the given image"
        return
    file, name = _file(source)
    with file:
        head = file.read(512)
        file.seek(0)
        if not head:
            raise UnreadableImage(f"{name} is empty (0 bytes)")
        _check_size(*_webp_size(head), max_pixels, name)
        try:
            image = Image.open(file, formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnreadableImage(f"{name} is too large: {error}; shrink it first") from None
        except UnidentifiedImageError:
            raise UnreadableImage(f"{name} {_what_it_is(head)}") from None
        except Exception as error:  # as above: any exception may come out of a damaged header
            raise UnreadableImage(f"{name} has a damaged header: {error}") from error
        with image:
            yield image, name


def _check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    if width * height > max_pixels:
        size = f"{width} x {height} = {width * height:,} pixels"
        raise UnreadableImage(f"{name} has {size}; the limit is {max_pixels:,}: shrink it first")


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height in a WebP header (RFC 9649), (0, 0) for any other file; opening one allocates its canvas."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return 0, 0
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _file(source: Any) -> tuple[Any, str]:
    """A binary file to read from, and its name in errors."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), f"image ({memoryview(source).nbytes:,} bytes)"
    if not isinstance(source, str | Path):
        raise UnreadableImage(f"an image is given as a path, bytes or a PIL image, not {type(source).__name__}")
    name = f"image {str(source)[:200]!r}"
    if isinstance(source, str) and re.match(r"(?i)(https?|ftp|s3|gs|file)://|data:", source):
        raise UnreadableImage(f"{name} is a URL and nothing is downloaded; fetch it and pass its path or its bytes")
    path = Path(source)
    try:
        if not path.exists():
            raise UnreadableImage(f"{name} does not exist")
        if not path.is_file():  # a pipe or a device could be read for ever
            raise UnreadableImage(f"{name} is not a file")
        return path.open("rb"), name
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage(f"{name} cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def _what_it_is(head: bytes) -> str:
    """What to say of a file that Pillow does not know, from its first bytes."""
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return f"begins like a {kind} but its header is truncated or damaged"
    for pattern, remedy in _OTHER_TYPES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"is {remedy}"
    return f"is of a type that is not read; convert it to one of {', '.join(FORMATS)}"


def _rgb(image: Image, name: str) -> Image:
    """Any colour mode as RGB over white; always a new picture."""
    from PIL import Image as Images

    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image, name)
    if image.mode in ("La", "RGBa"):  # premultiplied alpha has only this way out
        image = image.convert(image.mode[:-1] + "A")
    if image.mode == "PA" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        background = Images.new("RGB", image.size, WHITE)
        background.paste(image.convert("RGB"), mask=image.getchannel("A"))
        return background
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _eight_bits(image: Image, name: str) -> Image:
    """16-bit grey as 8-bit grey; its transparent value, if it has one, becomes white."""
    from PIL import Image as Images

    values_HW = np.asarray(image)
    if image.mode == "F" or (image.mode == "I" and (values_HW.min() < 0 or values_HW.max() > 65_535)):
        raise UnreadableImage(
            f"{name} holds numbers without a known range (mode {image.mode}); scale it to 0..255 first"
        )
    grey_HW = (values_HW >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey_HW[values_HW == transparent] = 255
    return Images.fromarray(grey_HW)


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF raises anything; viewers show such a picture as it is stored
        return 1


def _upright(image: Image, orientation: int) -> Image:
    """The picture turned and mirrored as its EXIF orientation (TIFF 6.0, tag 274) asks."""
    from PIL.Image import Transpose

    ways = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    if orientation in ways:
        image = image.transpose(ways[orientation])
    image.info.clear()  # else whoever reads the orientation there would turn the picture a second time
    return image
