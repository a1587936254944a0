"""Uploads are checked before a pixel is decoded, and stored as packing stores them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hostile import encoded, picture, png
from PIL import Image, ImageFile

from datamodules.sources.decoding import decode_image
from serve.app.uploads.limits import Limits
from serve.app.uploads.pictures import PictureError, read_picture

LIMITS = Limits(megabytes=1, megapixels=1)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "upload"
    path.write_bytes(content)
    return path


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels must not be decoded."""

    def load(image: ImageFile.ImageFile) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_read_is_what_packing_stores(kind: str, mode: str, tmp_path: Path) -> None:
    content = encoded(picture(np.random.default_rng(0), mode), kind)
    assert np.array_equal(read_picture(written(tmp_path, content), 32, LIMITS), decode_image(content, 32))


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(1_000_001), r"The file is 1\.0 MB; at most 1 MB are accepted"),
        (b"", "The file is empty"),
        (b"<svg/>", "This is not a PNG, JPEG, WebP or BMP picture, whatever its name says"),
        (png(1001, 1000, b""), r"The picture has 1001 x 1000 pixels; at most 1 megapixels are accepted"),
        (png(60_000, 60_000, b""), "far larger than 1 megapixels"),
        (encoded(Image.new("RGB", (9, 9)), "GIF"), "This is not a PNG"),
        (encoded(Image.new("RGB", (9, 9)), "TIFF"), "This is not a PNG"),
    ],
    ids=["bytes", "empty", "svg", "pixels", "bomb", "gif", "tiff"],
)
def test_what_is_too_much_or_none_is_refused_without_decoding(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=said):
        read_picture(written(tmp_path, content), 32, LIMITS)


@pytest.mark.parametrize("width", [1000, 1001])
def test_the_limit_is_the_last_that_is_taken(width: int, tmp_path: Path) -> None:
    path = written(tmp_path, encoded(Image.new("L", (width, 1000)), "PNG"))
    if width == 1000:
        assert read_picture(path, 32, LIMITS).shape == (3, 32, 32)
    else:
        with pytest.raises(PictureError):
            read_picture(path, 32, LIMITS)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    whole = encoded(Image.effect_noise((200, 200), 60), "JPEG", progressive=True)
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    return whole[:end] + count * whole[last:end] + whole[end:]


@pytest.mark.usefixtures("no_decoding")
def test_a_jpeg_that_is_walked_over_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"The JPEG has \d+ scans of 200 x 200 pixels: too slow to decode"):
        read_picture(written(tmp_path, scans(100)), 32, LIMITS)


def test_a_progressive_jpeg_is_taken(tmp_path: Path) -> None:
    assert read_picture(written(tmp_path, scans(0)), 32, LIMITS).shape == (3, 32, 32)


def two_in_one(place: int, other: bytes) -> bytes:
    """A WebP picture with the mark of another format where that has it."""
    whole = bytearray(encoded(Image.new("RGB", (8, 8), "red"), "WEBP", lossless=True))
    padding = bytes(6000)
    extra = b"JUNK" + struct.pack("<I", len(padding)) + padding  # a chunk that a reader of WebP leaves out
    whole += extra
    whole[4:8] = struct.pack("<I", len(whole) - 8)
    whole[place : place + len(other)] = other
    return bytes(whole)


def test_a_file_that_is_a_picture_in_two_formats_is_read_as_the_one_that_was_checked(tmp_path: Path) -> None:
    content = two_in_one(2048, b"PCD_")
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PCD"  # what Pillow takes it for, when it may
    assert (read_picture(written(tmp_path, content), 8, LIMITS)[0] > 250).all()


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert read_picture(written(tmp_path, content), 32, LIMITS)[:, 0, 0].tolist() == [255, 0, 0]


def test_cmyk_and_sixteen_bits_have_their_colours(tmp_path: Path) -> None:
    red = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(read_picture(written(tmp_path, red), 32, LIMITS)[:, 9, 9].astype(int) - [254, 0, 0]).max() < 8
    grey = encoded(Image.fromarray(np.full((32, 32), 0x8080, dtype=np.uint16)), "PNG")
    assert read_picture(written(tmp_path, grey), 32, LIMITS)[:, 9, 9].tolist() == [128] * 3


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    half = Image.new("RGB", (32, 32), "white")
    half.paste("black", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[274] = 3  # upside down
    file = io.BytesIO()
    half.save(file, "PNG", exif=exif)
    found = read_picture(written(tmp_path, file.getvalue()), 32, LIMITS)
    assert (found[0, 0, 0], found[0, 31, 0]) == (255, 0)


def test_damage_is_told_in_words(tmp_path: Path) -> None:
    content = encoded(picture(np.random.default_rng(0)), "PNG")
    with pytest.raises(PictureError, match="damaged or incomplete"):
        read_picture(written(tmp_path, content[: len(content) // 2]), 32, LIMITS)


def test_damage_to_the_header_is_told_in_words(tmp_path: Path) -> None:
    content = bytearray(encoded(picture(np.random.default_rng(0)), "BMP"))
    content[14] = 99  # the length of the second header
    with pytest.raises(PictureError, match=r"^The picture's header is damaged \(.+\)\.$"):
        read_picture(written(tmp_path, bytes(content)), 32, LIMITS)


def test_a_picture_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="Choose it again"):
        read_picture(tmp_path / "gone.png", 32, LIMITS)


def with_a_second_picture(jpeg: bytes) -> bytes:
    """A JPEG with an MPF segment (CIPA DC-007) that names two pictures: Pillow calls it MPO."""
    entry = struct.pack("<IIIHH", 0x030000, 1000, 0, 0, 0) + struct.pack("<IIIHH", 0, 1000, 1000, 0, 0)
    fields = [(0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack("<I", 2)), (0xB002, 7, len(entry), None)]
    offset = 8 + 2 + 12 * len(fields) + 4  # of the entries: behind header and directory
    packed = [struct.pack("<HHI", *field[:3]) + (field[3] or struct.pack("<I", offset)) for field in fields]
    directory = struct.pack("<H", len(fields)) + b"".join(packed) + bytes(4)
    body = b"MPF\0II*\0" + struct.pack("<I", 8) + directory + entry
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.usefixtures("no_decoding")
def test_a_jpeg_that_pillow_calls_by_another_name_has_the_same_limit_of_scans(tmp_path: Path) -> None:
    content = with_a_second_picture(scans(100))
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "MPO"
    with pytest.raises(PictureError, match=r"The JPEG has \d+ scans of 200 x 200 pixels: too slow to decode"):
        read_picture(written(tmp_path, content), 32, LIMITS)
