"""Greyscale with more than 8 bits per pixel: which value is white? Pillow clips values above 255 to white."""

from __future__ import annotations

import numpy as np
from PIL import Image

# 16-bit and 32-bit integers, and floating point.
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
RANGE_TAGS = ((280, 281), (340, 341))  # TIFF's MinSampleValue and MaxSampleValue, SMinSampleValue and SMaxSampleValue
SIXTEEN_BITS, TWELVE_BITS, EIGHT_BITS = 65535, 4095, 255


def to_eight_bits(image: Image.Image) -> np.ndarray:
    """uint8 [height, width], scaled by the range that the file states, else by its type's, unless that is ambiguous.

    A 16-bit image that uses 12 bits or fewer would be nearly black, and the file does not say whether that is intended;
    scaling each image by its brightest pixel would make images from one camera incomparable.

    Raises:
        ValueError: the range is ambiguous.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("some of its values are NaN or infinite")
    if (said := said_range(image)) is not None:
        low, high = said
        scaled = (values.astype(np.float64) - low) / (high - low) * EIGHT_BITS
        return scaled.clip(0, EIGHT_BITS).round().astype(np.uint8)
    return by_type(values, image.mode)


def by_type(values: np.ndarray, mode: str) -> np.ndarray:
    """uint8, scaled by the range of the type; raises a ValueError if the range is ambiguous."""
    least, most = values.min(), values.max()
    wide = mode in ("I", "F")  # too wide for anyone to use all of it
    if least >= 0 and mode == "F" and most <= 1:
        return (values * EIGHT_BITS).round().astype(np.uint8)
    if least >= 0 and ((wide and most <= EIGHT_BITS) or most == 0):
        return values.astype(np.uint8)
    if least >= 0 and TWELVE_BITS < most <= SIXTEEN_BITS:
        return (values // (SIXTEEN_BITS // EIGHT_BITS)).astype(np.uint8)
    raise ValueError(
        f"its values go from {least:g} to {most:g}, and nothing says which value is white: expected 8 bits, all 16 "
        "bits, floating point in 0..1, or a TIFF with MaxSampleValue"
    )


def said_range(image: Image.Image) -> tuple[float, float] | None:
    """The black and white values that a TIFF states, if it does."""
    tags = getattr(image, "tag_v2", {})
    for low, high in RANGE_TAGS:
        if high in tags:
            black, white = (np.max(tags.get(tag, 0)) for tag in (low, high))
            return (float(black), float(white)) if white > black else None
    return None
