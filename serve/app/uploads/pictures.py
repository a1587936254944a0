"""Pictures from strangers: everything is checked before any pixel is decoded."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.sources.decoding import decode_image, to_rgb
from serve.app.uploads.limits import Limits
from serve.error_text import reason

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # by content, whatever a file is called
USUAL_SCANS = 10  # of a progressive JPEG
SCANS = 100  # at most: each costs a pass over the whole picture, but only 12 bytes of the file
START_OF_JPEG = b"\xff\xd8"
START_OF_SCAN = b"\xff\xda"  # within a scan, 0xff is followed by 0
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # ISO 23008-12, as iPhones take pictures
TAKE_JPEG = (
    "This is a HEIC picture. Send a JPEG: on an iPhone, Settings > Camera > Formats > Most Compatible; or open the "
    "picture, take a screenshot and send that."
)
SPOKEN = "PNG, JPEG, WebP or BMP"


class PictureError(ValueError):
    """A picture is refused; the message says what was found and what is accepted."""


def read_picture(path: Path, size: int, limits: Limits) -> np.ndarray:
    """Read an uploaded file to a stored image, as packing does: uint8 [3, size, size].

    Of an animation, only the first frame is decoded.

    Raises:
        PictureError: too large, not one of the four formats, damaged, or deleted in the meantime.
    """
    content = read_upload(path, limits)
    check_header(content, limits)
    return decode(content, size)


def read_upload(path: Path, limits: Limits) -> bytes:
    """The bytes of an uploaded file."""
    try:
        found = path.stat().st_size
        if found > limits.bytes:
            raise PictureError(f"The file is {found / 1e6:.1f} MB; at most {limits.megabytes:g} MB are accepted.")
        return path.read_bytes()
    except OSError:
        raise PictureError("The picture was deleted: uploads are kept only for minutes. Choose it again.") from None


def decode(data: bytes, size: int) -> np.ndarray:
    """Decode a picture whose header was checked."""
    try:
        return decode_image(data, size, FORMATS)  # the same formats: some files are valid in two
    except Exception as error:  # Pillow's plugins raise anything for a broken or hostile file
        raise PictureError(f"The picture is damaged or incomplete ({reason(error)}).") from error


def decode_whole(data: bytes, largest: int) -> Image.Image:
    """The whole picture, upright RGB, reduced to `largest` pixels a side."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.draft(None, (largest, largest))  # a JPEG is decoded at a half, a quarter or an eighth of its size
            image.load()
            picture = to_rgb(image)
    except Exception as error:  # as above
        raise PictureError(f"The picture is damaged or incomplete ({reason(error)}).") from error
    picture.thumbnail((largest, largest), Image.Resampling.BICUBIC)
    return picture


def check_header(data: bytes, limits: Limits) -> float:
    """The number of pixels to decode, a JPEG's once per ten scans; known without decoding any.

    Raises:
        PictureError: not one of the four formats, damaged, or too much to decode.
    """
    if not data:
        raise PictureError(f"The file is empty; expected a {SPOKEN} picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is below Pillow's
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise PictureError(f"The picture is far larger than {limits.megapixels:g} megapixels.") from None
    except Image.UnidentifiedImageError:
        if data[4:8] == b"ftyp" and data[8:12] in HEIC:
            raise PictureError(TAKE_JPEG) from None
        raise PictureError(f"This is not a {SPOKEN} picture, whatever its name says.") from None
    except Exception as error:  # as above
        raise PictureError(f"The picture's header is damaged ({reason(error)}).") from error
    if width * height > limits.megapixels * 1e6:
        raise PictureError(
            f"The picture has {width} x {height} pixels; at most {limits.megapixels:g} megapixels are accepted."
        )
    # By content: Pillow calls a JPEG with a second picture MPO, and decodes it as any other.
    scans = data.count(START_OF_SCAN) if data.startswith(START_OF_JPEG) else 0
    work = width * height * max(scans / USUAL_SCANS, 1)
    if scans > SCANS or work > 4 * limits.megapixels * 1e6:
        raise PictureError(
            f"The JPEG has {scans:,} scans of {width} x {height} pixels: too slow to decode. "
            "Save it without the progressive option."
        )
    return work
