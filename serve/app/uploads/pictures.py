"""Pictures from strangers: everything is checked before a pixel is decoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.sources.decoding import decode_image
from serve.error_text import reason

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # by content; the name of a file says nothing
SCANS = 100  # of a progressive JPEG, which has ten: each costs a walk over the whole picture, and 12 bytes of the file
START_OF_SCAN = b"\xff\xda"  # within a scan, 0xff is followed by 0
SPOKEN = "PNG, JPEG, WebP or BMP"


class PictureError(ValueError):
    """A picture cannot be taken: the message says what was found and what would be."""


@dataclass(frozen=True)
class Limits:
    """What a picture may cost.

    Attributes:
        megabytes: of the file.
        megapixels: of the picture; decoding takes up to 20 bytes for each, of transparent ones.
    """

    megabytes: float = 20
    megapixels: float = 40

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)


def read_picture(path: Path, size: int, limits: Limits) -> np.ndarray:
    """Read an uploaded file to a stored image, as packing does: uint8 [3, size, size].

    Of an animation the first frame is taken.

    Raises:
        PictureError: too large, not one of the four formats, damaged, or deleted in the meantime.
    """
    if not path.exists():
        raise PictureError("The picture is kept for some minutes only; choose it again.")
    found = path.stat().st_size
    if found > limits.bytes:
        raise PictureError(f"The file has {found / 1e6:.1f} MB; at most {limits.megabytes:g} MB are taken.")
    data = path.read_bytes()
    check_header(data, limits)
    try:
        return decode_image(data, size, FORMATS)  # the same formats: some files are pictures in two
    except Exception as error:  # Pillow's plugins raise anything for a broken or hostile file
        raise PictureError(f"The picture is damaged or not complete ({reason(error)}).") from error


def check_header(data: bytes, limits: Limits) -> None:
    """Raise a PictureError by what the first bytes say of format and size; Pillow decodes no pixel for that."""
    if not data:
        raise PictureError(f"The file is empty; expected a {SPOKEN} picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is below Pillow's
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                (width, height), kind = image.size, image.format
    except Image.DecompressionBombError:
        raise PictureError(f"The picture is far larger than {limits.megapixels:g} megapixels.") from None
    except Image.UnidentifiedImageError:
        raise PictureError(f"This is not a {SPOKEN} picture, whatever its name says.") from None
    except Exception as error:  # as above
        raise PictureError(f"The picture's header is damaged ({reason(error)}).") from error
    if width * height > limits.megapixels * 1e6:
        raise PictureError(
            f"The picture has {width} x {height} pixels; at most {limits.megapixels:g} megapixels are taken."
        )
    if kind == "JPEG" and (scans := data.count(START_OF_SCAN)) > SCANS:
        raise PictureError(f"The JPEG has {scans:,} scans; at most {SCANS} are taken. Save it again.")
