"""From one file's bytes to one stored image. Packing and serving both decode here, so they cannot disagree."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from datamodules.sources.brightness import DEEP_MODES, to_eight_bits
from datamodules.sources.budget import Budget

# Pillow's names, frequent ones first. Not included: EPS, which starts Ghostscript, and documents and films.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF", "ICO", "PCX", "TGA")
# Pillow warns at half the size that it refuses, without a name and in every thread; we list too large images by name.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Unreadable metadata: the warning has no name either, and no pixel depends on it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow reads, with HEIF if pillow-heif is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found,unused-ignore]

        register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def pixel_limit(megapixels: float | None) -> Iterator[None]:
    """Set the pixel limit for images, in all threads; None keeps Pillow's limit of 179 megapixels."""
    before = Image.MAX_IMAGE_PIXELS
    if megapixels is not None:
        Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6 / 2)  # Pillow refuses from twice this number on
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def decode_image(
    data: bytes, size: int, formats: tuple[str, ...] | None = None, budget: Budget | None = None
) -> np.ndarray:
    """Decode an image file and fit it to a square: uint8 [3, size, size], RGB. Of several images, the first.

    Args:
        formats: Pillow's names of the accepted formats; None accepts all of FORMATS.
        budget: for the bytes decoded at once, by all who share it.

    Raises:
        OSError, ValueError, SyntaxError: what Pillow raises for a file that is not a readable image.
        PIL.Image.DecompressionBombError: more pixels than Pillow's limit.
    """
    with open_image(data, formats) as image, taken(budget, image):
        image.load()
        return np.asarray(fit(to_rgb(image), size)).transpose(2, 0, 1)


def taken(budget: Budget | None, image: Image.Image) -> AbstractContextManager[None]:
    """The budget for decoding: four bytes per pixel, and as many for a rotated or contiguous copy."""
    width, height = image.size
    return budget.take(8 * width * height) if budget else nullcontext()


def open_image(data: bytes, formats: tuple[str, ...] | None = None) -> Image.Image:
    """An image whose header has been read, but no pixels."""
    try:
        return Image.open(io.BytesIO(data), formats=formats or readable_formats())
    except UnidentifiedImageError as error:  # Pillow's message names our BytesIO
        raise UnidentifiedImageError("not an image in a supported format" if data else "empty") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB: EXIF rotation applied, more bits scaled to 8, transparency composited over white.

    Raises:
        ValueError: it has more than 8 bits, and nothing says which value is white.
    """
    with suppress(Exception):  # unreadable metadata says nothing; the pixels are good
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in DEEP_MODES:
        return Image.fromarray(to_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the shorter side to `size` (antialiased) and crop the centre square."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
