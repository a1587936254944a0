"""Any image file becomes the same kind of square: upright, 8 bits, RGB."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from datamodules.sources.decoding import decode_image, pixel_limit, readable_formats

SIDE = 8


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((3, SIDE, SIDE), value, dtype=np.uint8)


def test_image_of_the_stored_size_is_kept_bit_by_bit() -> None:
    pixels = noise(SIDE, SIDE)
    result = decode_image(encoded(Image.fromarray(pixels)), SIDE)
    assert result.dtype == np.uint8
    assert np.array_equal(result, pixels.transpose(2, 0, 1))


def test_larger_image_is_reduced_with_antialiasing() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    result = decode_image(encoded(Image.fromarray(stripes)), SIDE)
    # A resize that skips pixels would give 0 or 255.
    assert set(result[:, :, 1:-1].flatten().tolist()) <= {127, 128}


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20)])
def test_centre_square_of_an_oblong_image_is_kept(height: int, width: int) -> None:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[(height - 20) // 2 :, (width - 20) // 2 :][:20, :20] = 200
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), 20), np.full((3, 20, 20), 200))


def test_smaller_image_is_enlarged() -> None:
    assert np.array_equal(decode_image(encoded(Image.new("RGB", (3, 3), (9, 9, 9))), SIDE), grey(9))


def test_greyscale_is_repeated_over_the_channels() -> None:
    pixels = noise(SIDE, SIDE)[:, :, 0]
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), SIDE), np.stack([pixels] * 3))


def test_one_bit_is_black_and_white() -> None:
    pixels = noise(SIDE, SIDE)[:, :, 0] > 127
    expected = np.stack([pixels * np.uint8(255)] * 3)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), SIDE), expected)


def palette() -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (SIDE // 2, 0, SIDE, SIDE))
    return image


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_palette_becomes_its_colours(kind: str) -> None:
    result = decode_image(encoded(palette(), kind), SIDE)
    assert (result[:, 0, 0].tolist(), result[:, 0, -1].tolist()) == ([255, 0, 0], [0, 0, 255])


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_transparent_palette_entry_becomes_white(kind: str) -> None:
    result = decode_image(encoded(palette(), kind, transparency=1), SIDE)
    assert (result[:, 0, 0].tolist(), result[:, 0, -1].tolist()) == ([255, 0, 0], [255, 255, 255])


@pytest.mark.parametrize(("alpha", "expected"), [(0, [255, 255, 255]), (255, [200, 0, 100]), (51, [244, 204, 224])])
def test_transparency_lies_over_white(alpha: int, expected: list[int]) -> None:
    image = Image.new("RGBA", (SIDE, SIDE), (200, 0, 100, alpha))
    assert decode_image(encoded(image), SIDE)[:, 0, 0].tolist() == expected


def test_transparent_grey_lies_over_white() -> None:
    assert np.array_equal(decode_image(encoded(Image.new("LA", (SIDE, SIDE), (7, 0))), SIDE), grey(255))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation: int, turns: int) -> None:
    pixels = noise(SIDE, SIDE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = np.rot90(pixels, turns).transpose(2, 0, 1)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels), exif=exif), SIDE), expected)


def tiff(values: np.ndarray, **tags: Any) -> bytes:
    """A greyscale TIFF of the array's own type."""
    return encoded(Image.fromarray(values), "tiff", **tags)


def ramp(low: float, high: float, kind: Any) -> np.ndarray:
    """SIDE x SIDE values from low to high."""
    return np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


def big_endian(values: np.ndarray) -> bytes:
    """A 16-bit greyscale TIFF of one strip whose bytes are in Motorola's order."""
    data = values.astype(">u2").tobytes()
    entries = [(256, 3, SIDE), (257, 3, SIDE), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 3, SIDE), (279, 4, len(data))]
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(">HHI", tag, kind, 1) + (
            struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        )
    return b"MM\0*" + struct.pack(">I", 8 + len(data)) + data + directory + bytes(4)


EIGHT_BIT_RAMP = ramp(0, 65535, np.uint16) // 257


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(ramp(0, 65535, np.uint16)), EIGHT_BIT_RAMP),
        (big_endian(ramp(0, 65535, np.uint16)), EIGHT_BIT_RAMP),
        (encoded(Image.fromarray(ramp(0, 65535, np.uint16))), EIGHT_BIT_RAMP),
        (tiff(ramp(0, 65535, np.int32)), EIGHT_BIT_RAMP),
        (tiff(ramp(0, 65535, np.float32)), EIGHT_BIT_RAMP),
        (tiff(ramp(0, 255, np.int32)), ramp(0, 255, np.uint8)),
        (tiff(ramp(0, 255, np.float32)), ramp(0, 255, np.uint8)),
        (tiff(ramp(0, 1, np.float32)), (ramp(0, 1, np.float32) * 255).round()),
        (tiff(ramp(0, 4095, np.uint16), tiffinfo={281: 4095}), (ramp(0, 4095, np.uint16) / 4095 * 255).round()),
        (tiff(np.zeros((SIDE, SIDE), np.uint16)), np.zeros((SIDE, SIDE))),
    ],
)
def test_more_bits_are_scaled_by_the_range_that_is_known(data: bytes, expected: np.ndarray) -> None:
    result = decode_image(data, SIDE)
    assert np.array_equal(result, np.stack([expected] * 3))
    assert not expected.any() or result.max() > 250


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (ramp(0, 4095, np.uint16), "from 0 to 4095, and nothing says which value is white"),
        (ramp(0, 200, np.uint16), "from 0 to 200, and nothing says which value is white"),
        (ramp(0, 3000, np.int32), "from 0 to 3000, and nothing says which value is white"),
        (ramp(-1000, 1000, np.int32), "from -1000 to 1000, and nothing says which value is white"),
        (ramp(-1, 1, np.float32), "from -1 to 1, and nothing says which value is white"),
        (ramp(0, 1e6, np.float32), "from 0 to 1e\\+06, and nothing says which value is white"),
        (np.full((SIDE, SIDE), np.nan, np.float32), "NaN"),
    ],
)
def test_a_range_that_cannot_be_told_is_an_error_and_not_a_black_picture(values: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode_image(tiff(values), SIDE)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "MPO", "TGA", "ICO", "PCX", "DIB"])
def test_formats_beyond_the_usual_are_read(kind: str) -> None:
    if kind not in Image.SAVE and (Image.init(), kind not in Image.SAVE)[1]:
        pytest.skip("this Pillow does not write it")
    result = decode_image(encoded(Image.new("RGB", (64, 64), (200, 30, 60)), kind), SIDE).astype(int)
    assert np.abs(result - np.array([200, 30, 60])[:, None, None]).max() <= 6


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    pytest.importorskip("pillow_heif", reason="pip install pillow-heif")
    assert "HEIF" in readable_formats()  # which registers it
    result = decode_image(encoded(Image.new("RGB", (64, 64), (200, 30, 60)), "HEIF"), SIDE).astype(int)
    assert np.abs(result - np.array([200, 30, 60])[:, None, None]).max() <= 6


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", b"%PDF-1.4"])
def test_what_would_start_a_program_is_no_image(data: bytes) -> None:
    with pytest.raises(UnidentifiedImageError, match="not an image in a supported format"):
        decode_image(data, SIDE)


def test_metadata_that_cannot_be_read_costs_no_image() -> None:
    broken = PngImagePlugin.PngInfo()
    broken.add_text("Raw profile type exif", "\nexif\n      10\nzznothex\n")
    pixels = noise(SIDE, SIDE)
    result = decode_image(encoded(Image.fromarray(pixels), pnginfo=broken), SIDE)
    assert np.array_equal(result, pixels.transpose(2, 0, 1))


def test_the_limit_of_pixels_is_an_option_and_ends_with_its_block() -> None:
    data = encoded(Image.new("1", (1001, 1000)))
    with pixel_limit(0.5), pytest.raises(Image.DecompressionBombError):
        decode_image(data, SIDE)
    with pixel_limit(2.1):
        decode_image(data, SIDE)
    decode_image(data, SIDE)


def warned_of(data: bytes, folder: Path) -> str:
    """What decoding prints in a separate program, whose warning filters are not pytest's."""
    (folder / "image").write_bytes(data)
    program = (
        "import sys; from datamodules.sources.decoding import *; data = open(sys.argv[1], 'rb').read()\n"
        "with pixel_limit(1.5): decode_image(data, 8)"
    )
    command = [sys.executable, "-c", program, str(folder / "image")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert found.returncode == 0
    return found.stderr


def test_large_images_are_decoded_without_a_warning_that_names_none(tmp_path: Path) -> None:
    assert warned_of(encoded(Image.new("1", (1001, 1000))), tmp_path) == ""  # Pillow warns from 0.75 megapixels on


def test_metadata_that_cannot_be_read_is_no_warning_that_names_none(tmp_path: Path) -> None:
    make, turned = struct.pack("<HHIHH", 0x10F, 3, 2, 300, 7), struct.pack("<HHII", 0x112, 3, 1, 6)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + make + turned + bytes(4)  # a maker of two numbers
    data = encoded(Image.fromarray(noise(SIDE, SIDE)), "jpeg", exif=exif)
    assert warned_of(data, tmp_path) == ""


@pytest.mark.parametrize("kind", ["tiff", "jpeg"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    image = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
    result = decode_image(encoded(image, kind), SIDE).astype(int)
    assert np.abs(result - np.array([255, 0, 0])[:, None, None]).max() <= 2


@pytest.mark.parametrize("data", [b"", b"just text", encoded(Image.new("RGB", (64, 64)))[:-40]])
def test_what_is_no_whole_image_is_an_error(data: bytes) -> None:
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode_image(data, SIDE)
