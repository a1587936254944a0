"""Five hundred uploads that nobody should send: (what it is, name, bytes, whether it is a picture after all)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

VARIANTS = 20  # of each kind


class Upload(NamedTuple):
    """One of them."""

    kind: str
    name: str
    content: bytes
    is_picture: bool


def uploads() -> Iterator[Upload]:
    """Every kind, in as many variants."""
    for number, (kind, (make, name, is_picture)) in enumerate(KINDS.items()):
        for variant in range(VARIANTS):
            rng = np.random.default_rng((number, variant))
            yield Upload(kind, name, make(rng), is_picture)


def picture(rng: np.random.Generator, mode: str = "RGB") -> Image.Image:
    """Noise of random size."""
    height, width = rng.integers(20, 200, 2)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def truncated(kind: str) -> Callable[[np.random.Generator], bytes]:
    """A picture without its end."""

    def make(rng: np.random.Generator) -> bytes:
        whole = encoded(picture(rng), kind)
        return whole[: int(len(whole) * rng.uniform(0.3, 0.9))]

    return make


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    """A greyscale PNG with a header of our choice."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(rng: np.random.Generator) -> bytes:
    """Few kilobytes that want to become hundreds of megabytes."""
    side = int(rng.integers(15_000, 25_000))
    return png(side, side, bytes(1_000_000))


def text_bomb(rng: np.random.Generator) -> bytes:
    """A small picture with a compressed comment of 80 MB."""
    comment = b"Comment\0\0" + zlib.compress(bytes(80_000_000 + int(rng.integers(1000))))
    return png(4, 4, bytes(20), chunk(b"zTXt", comment))


def broken_chunk(rng: np.random.Generator) -> bytes:
    """A PNG with a wrong checksum."""
    whole = bytearray(encoded(picture(rng), "PNG"))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


def huge_jpeg(rng: np.random.Generator) -> bytes:
    """A JPEG whose header says 65,000 x 65,000."""
    whole = bytearray(encoded(picture(rng), "JPEG"))
    place = whole.index(b"\xff\xc0")
    whole[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(whole)


def animated(kind: str) -> Callable[[np.random.Generator], bytes]:
    """Three frames."""

    def make(rng: np.random.Generator) -> bytes:
        frames = [picture(rng).resize((40, 40)) for _ in range(3)]
        return encoded(frames[0], kind, save_all=True, append_images=frames[1:])

    return make


def deep(rng: np.random.Generator) -> bytes:
    """Sixteen bits of grey."""
    return encoded(Image.fromarray(rng.integers(0, 65536, (50, 60), dtype=np.uint16)), "PNG")


def turned(rng: np.random.Generator) -> bytes:
    """A JPEG that EXIF turns."""
    exif = Image.Exif()
    exif[274] = int(rng.integers(2, 9))
    return encoded(picture(rng), "JPEG", exif=exif)


def script(rng: np.random.Generator) -> bytes:
    return (
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><!--" + rng.bytes(20).hex().encode() + b"--></svg>"
    )


KINDS: dict[str, tuple[Callable[[np.random.Generator], bytes], str, bool]] = {
    "truncated PNG": (truncated("PNG"), "a.png", False),
    "truncated JPEG": (truncated("JPEG"), "a.jpg", False),
    "truncated WebP": (truncated("WEBP"), "a.webp", False),
    "truncated BMP": (truncated("BMP"), "a.bmp", False),
    "GIF, called PNG": (lambda rng: encoded(picture(rng), "GIF"), "a.png", False),
    "TIFF, called JPEG": (lambda rng: encoded(picture(rng), "TIFF"), "a.jpg", False),
    "EPS": (lambda rng: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + rng.bytes(40), "a.eps", False),
    "SVG": (script, "a.svg", False),
    "HTML, called PNG": (lambda rng: b"<html><script>alert(1)</script>" + rng.bytes(9).hex().encode(), "a.png", False),
    "zip": (lambda rng: b"PK\x03\x04" + rng.bytes(500), "a.png", False),
    "pickle": (lambda rng: b"\x80\x04cos\nsystem\n(S'id'\ntR." + rng.bytes(9), "a.png", False),
    "nothing": (lambda rng: b"", "a.png", False),
    "one byte": (lambda rng: rng.bytes(1), "a.png", False),
    "random bytes": (lambda rng: rng.bytes(int(rng.integers(100, 50_000))), "a.jpg", False),
    "bomb": (bomb, "a.png", False),
    "comment bomb": (text_bomb, "a.png", False),
    "JPEG of 65,000 x 65,000": (huge_jpeg, "a.jpg", False),
    "too many pixels": (lambda rng: encoded(Image.new("L", (2100, 2000)), "PNG"), "a.png", False),
    "wrong checksum": (broken_chunk, "a.png", False),
    "PNG, called text": (lambda rng: encoded(picture(rng), "PNG"), "../../a.txt", True),
    "CMYK": (lambda rng: encoded(picture(rng, "CMYK"), "JPEG"), "a.jpg", True),
    "16 bits": (deep, "a.png", True),
    "animated PNG": (animated("PNG"), "a.png", True),
    "animated WebP": (animated("WEBP"), "a.webp", True),
    "EXIF": (turned, "a.jpg", True),
}
assert len(KINDS) * VARIANTS == 500
