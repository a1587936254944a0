"""One file's bytes to one stored image. Packing and serving both decode here, so they cannot disagree."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Sixteen-bit greyscale modes of Pillow: convert("RGB") would clip them to white instead of scaling them.
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def decode_image(data: bytes, size: int, formats: tuple[str, ...] | None = None) -> np.ndarray:
    """Decode an image file and fit it to the stored size.

    Args:
        data: the file's bytes.
        size: side of the stored square, in pixels.
        formats: Pillow's names of those that are taken; None takes whatever it reads.

    Returns:
        uint8 [3, size, size], RGB.

    Raises:
        OSError, ValueError, SyntaxError: what Pillow raises for a file that is not a readable image.
        PIL.Image.DecompressionBombError: more pixels than Pillow's limit.
    """
    try:
        opened = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:  # its own words name our BytesIO
        raise UnidentifiedImageError("not an image of any kind that Pillow reads") from error
    with opened as image:
        image.load()
        return np.asarray(fit(to_rgb(image), size)).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB: EXIF rotation applied, 16 bits scaled to 8, transparency laid over white."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in SIXTEEN_BIT_MODES:
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the shorter side to `size` (antialiased) and cut the centre square."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
