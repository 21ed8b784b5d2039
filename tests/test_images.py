"""Pictures of every kind come out upright and RGB; what cannot be read is refused by name.  Each file is made here."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from flmr.errors import InvalidInput, UnreadableImage
from flmr.images import FORMATS, load_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def assert_colour(
    image: Image.Image, colour: tuple[int, int, int], at: tuple[int, int] = (0, 0), within: int = 0
) -> None:
    assert image.mode == "RGB"
    found = image.getpixel(at)
    assert all(abs(a - b) <= within for a, b in zip(found, colour, strict=True)), f"{found} is not {colour}"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_from_bytes_path_string_and_pil(kind: str, tmp_path: Path) -> None:
    data = saved(Image.new("RGB", (20, 10), RED), kind)
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), path, str(path), Image.open(io.BytesIO(data))):
        image = load_image(source)
        assert image.size == (20, 10)
        assert_colour(image, RED, within=3)


def test_the_file_type_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(Image.new("RGB", (4, 4), BLUE), "PNG"))
    assert_colour(load_image(path), BLUE)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 90, (90, 90, 90)),
        ("LA", (0, 0), WHITE),
        ("LA", (0, 255), (0, 0, 0)),
        ("La", (0, 0), WHITE),
        ("PA", (0, 0), WHITE),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("RGBa", (128, 0, 0, 128), (255, 127, 127)),
        ("CMYK", (0, 255, 255, 0), RED),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("HSV", (0, 255, 255), RED),
        ("I;16", 32_896, (128, 128, 128)),
        ("I", 65_535, WHITE),
    ],
)
def test_every_colour_mode_becomes_rgb_over_white(mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    assert_colour(load_image(Image.new(mode, (3, 2), colour)), expected, within=1)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 257 * 10, 257 * 100, 65_535]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        image = load_image(saved(Image.fromarray(values), kind))
        assert np.asarray(image)[0, :, 0].tolist() == [0, 10, 100, 255]


def test_big_endian_sixteen_bit_grey_is_read() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([0x80, 0x80, 0, 0]))
    assert np.asarray(load_image(image))[0, :, 0].tolist() == [128, 0]


def test_transparent_value_of_sixteen_bit_grey_is_white() -> None:
    rows = b"\0" + struct.pack(">HH", 1000, 2560)
    image = load_image(png(2, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 1000))))
    assert np.asarray(image)[0, :, 0].tolist() == [255, 10]


@pytest.mark.parametrize("value", [-1, 70_000])
def test_integers_without_a_range_are_refused(value: int) -> None:
    with pytest.raises(UnreadableImage, match=r"mode I\); scale it to 0..255"):
        load_image(Image.new("I", (2, 2), value))


def test_floats_without_a_range_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="mode F"):
        load_image(saved(Image.new("F", (2, 2), 0.5), "TIFF"))


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency_is_laid_over_white(transparency: object) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*GREEN, *BLUE])
    image.putpixel((1, 0), 1)
    loaded = load_image(saved(image, "PNG", transparency=transparency))
    assert_colour(loaded, WHITE, (0, 0))
    assert_colour(loaded, BLUE, (1, 0))


def test_palette_without_transparency_keeps_its_colours() -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([*GREEN])
    assert_colour(load_image(saved(image, "GIF")), GREEN)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", GREEN)])
def test_the_transparent_colour_of_a_png_is_white(mode: str, colour: object) -> None:
    assert_colour(load_image(saved(Image.new(mode, (2, 2), colour), "PNG", transparency=colour)), WHITE)


def test_cmyk_jpeg_with_inverted_adobe_values_has_its_true_colours() -> None:
    data = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data  # stored inverted, as Photoshop does
    assert_colour(load_image(data), RED, within=4)


def test_cmyk_tiff_has_its_true_colours() -> None:
    assert_colour(load_image(saved(Image.new("CMYK", (4, 4), (255, 0, 255, 0)), "TIFF")), GREEN)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_colour(load_image(data), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    # One red corner: where each orientation puts the top left pixel of a 32 x 16 picture.
    right, bottom = ((orientation in (2, 3, 6, 7)), (orientation in (3, 4, 7, 8)))
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(image, kind, exif=exif, **options)
    loaded = load_image(data)
    width, height = (32, 16) if orientation < 5 else (16, 32)
    assert loaded.size == (width, height)
    assert_colour(loaded, RED, (width - 2 if right else 1, height - 2 if bottom else 1), within=8)
    assert load_image(loaded).size == loaded.size
    opened = Image.open(io.BytesIO(data))
    assert load_image(opened).tobytes() == loaded.tobytes()
    assert load_image(opened).tobytes() == loaded.tobytes()  # the caller's picture is as it was


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_leaves_the_picture_as_stored() -> None:
    data = saved(Image.new("RGB", (32, 16), RED), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_image(data).size == (32, 16)


def test_the_given_image_is_not_changed() -> None:
    given = Image.new("RGB", (4, 4), RED)
    load_image(given).putpixel((0, 0), BLUE)
    assert given.getpixel((0, 0)) == RED


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.03, 0.5, 0.9])
def test_a_truncated_file_is_refused(kind: str, kept: float) -> None:
    data = saved(noise(), kind)
    with pytest.raises(UnreadableImage):
        load_image(data[: int(len(data) * kept)])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_is_an_image_or_an_unreadable_image_and_nothing_else(kind: str) -> None:
    data = saved(noise(16, 12), kind)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(damaged), 200), 3):
            damaged[at] = rng.integers(0, 256)
        with contextlib.suppress(UnreadableImage):
            assert load_image(bytes(damaged), max_pixels=1_000_000).mode == "RGB"


def test_a_bomb_is_refused_from_its_header_without_memory_or_time(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    compress = zlib.compressobj(9)
    packed = b"".join(compress.compress(bytes(3751 * 100)) for _ in range(300)) + compress.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    load_image(Image.new("RGB", (1, 1)))  # Pillow is imported
    before_kb, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UnreadableImage, match="900000000"):
        load_image(path)
    assert time.process_time() - start_s < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_headers_that_promise_a_huge_picture_are_refused_in_little_memory(kind: str, tmp_path: Path) -> None:
    data = bytearray(saved(Image.new("L", (2, 1)), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", 65_535, 65_535)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 40_000, 40_000)
    elif kind == "TIFF":
        data = data.replace(struct.pack("<HHII", 256, 4, 1, 2), struct.pack("<HHII", 256, 4, 1, 40_000))
        data = data.replace(struct.pack("<HHII", 257, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, 40_000))
    else:
        extended = chunk_webp(b"VP8X", bytes(4) + (16_382).to_bytes(3, "little") * 2)
        data = bytearray(b"RIFF" + struct.pack("<I", len(data) - 8 + len(extended)) + b"WEBP" + extended + data[12:])
    path = tmp_path / "huge"
    path.write_bytes(data)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (512 << 20, 512 << 20))\n"
        "from flmr.errors import UnreadableImage; from flmr.images import load_image\n"
        f"try: load_image({str(path)!r})\nexcept UnreadableImage as error: print('refused', error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert run.stdout.startswith("refused") and "pixels" in run.stdout, run.stdout + run.stderr


def chunk_webp(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0", "lossless": True}])
def test_the_size_of_every_webp_layout_is_read_before_opening(options: dict[str, object]) -> None:
    with pytest.raises(UnreadableImage, match="64 x 48 = 3,072 pixels; the limit is 3,071"):
        load_image(saved(noise(), "WEBP", **options), max_pixels=3071)
    assert load_image(saved(noise(), "WEBP", **options), max_pixels=3072).size == (64, 48)


def test_max_pixels_is_a_choice() -> None:
    data = saved(Image.new("RGB", (10, 10)), "PNG")
    assert load_image(data, max_pixels=100).size == (10, 10)
    with pytest.raises(UnreadableImage, match=r"10 x 10 = 100 pixels; the limit is 99: shrink it first"):
        load_image(data, max_pixels=99)
    with pytest.raises(UnreadableImage, match="limit is 99"):
        load_image(Image.new("RGB", (10, 10)), max_pixels=99)
    with pytest.raises(InvalidInput):
        load_image(data, max_pixels=0)


def test_pillow_settings_are_left_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    load_image(saved(noise(), "JPEG"))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg/>", "an SVG drawing"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<!DOCTYPE html><p>404", "a web page"),
        (b"just text", "of a type that is not read; convert it"),
        (b"\0\0\0\x1cftypavif....", "HEIC or AVIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04", "an archive"),
        (b"\x89PNG\r\n", "begins like a PNG but its header is truncated"),
        (b"", "is empty"),
    ],
)
def test_another_type_is_refused_with_its_remedy(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableImage, match=said):
        load_image(data)


def test_formats_that_pillow_knows_but_are_not_allowed_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="type that is not read"):
        load_image(saved(Image.new("RGB", (4, 4)), "PPM"))


def test_a_missing_file_a_folder_and_a_pipe_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"nothing\.png' does not exist"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(UnreadableImage, match="is not a file"):
        load_image(tmp_path)
    with pytest.raises(UnreadableImage, match="is not a file"):
        load_image("/dev/zero")
    with pytest.raises(UnreadableImage, match=r"cannot be opened|does not exist"):
        load_image("nul\0in.png")
    with pytest.raises(UnreadableImage, match=r"cannot be opened|does not exist"):
        load_image("x" * 5000)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "HTTP://x/y.jpg", "data:image/png;base64,AAAA", "s3://b/k"]
)
def test_a_url_is_refused_and_nothing_is_downloaded(url: str) -> None:
    with pytest.raises(UnreadableImage, match="is a URL and nothing is downloaded"):
        load_image(url)


@pytest.mark.parametrize("source", [None, 3, np.zeros((2, 2, 3), np.uint8), ["a.png"]])
def test_another_kind_of_source_is_refused(source: object) -> None:
    with pytest.raises(UnreadableImage, match="given as a path, bytes or a PIL image, not"):
        load_image(source)  # type: ignore[arg-type]


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        load_image(Image.new("RGB", (0, 5)))


def test_importing_the_module_does_not_import_pillow() -> None:
    code = "import sys, flmr.images; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
