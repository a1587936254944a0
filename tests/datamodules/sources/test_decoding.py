"""Any image file becomes the same kind of square: upright, 8 bits, RGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.sources.decoding import decode_image

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


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    pixels = np.full((SIDE, SIDE), 257 * 100, dtype=np.uint16)
    pixels[0, :2] = 0, 65535
    data = encoded(Image.fromarray(pixels))
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    result = decode_image(data, SIDE)
    assert result[0, 0, :3].tolist() == [0, 255, 100]
    assert np.array_equal(result[0], result[2])


@pytest.mark.parametrize("kind", ["tiff", "jpeg"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    image = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
    result = decode_image(encoded(image, kind), SIDE).astype(int)
    assert np.abs(result - np.array([255, 0, 0])[:, None, None]).max() <= 2


@pytest.mark.parametrize("data", [b"", b"just text", encoded(Image.new("RGB", (64, 64)))[:-40]])
def test_what_is_no_whole_image_is_an_error(data: bytes) -> None:
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode_image(data, SIDE)
