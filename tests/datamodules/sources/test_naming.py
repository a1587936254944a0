"""One rule for which files are images."""

from __future__ import annotations

import pytest

from datamodules.sources.naming import displayable, is_image, why_not


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/cat/1.PNG", True),
        ("a/b/1.jfif", True),
        ("1.avif", True),
        ("./a/1.jpg", True),
        ("a/1.jpg/", False),
        ("a/._1.jpg", False),
        (".cache/1.jpg", False),
        ("a/@eaDir/1.jpg", False),
        ("__MACOSX/a/1.jpg", False),
        ("a/1", False),
        ("a/1.txt", False),
    ],
)
def test_an_image_has_an_ending_and_is_not_hidden(name: str, expected: bool) -> None:
    assert is_image(name) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/.1.jpg", "hidden"),
        ("a/notes.txt", "not images (.txt)"),
        ("a/1", "without a file extension"),
        ("a/1.svg", ".svg, which Pillow does not read"),
        ("a/1.HEIC", ".heic, which pip install pillow-heif makes readable"),
    ],
)
def test_why_a_file_is_left_out(name: str, said: str) -> None:
    assert why_not(name) == said


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("\u732b \U0001f436", "\u732b \U0001f436"),
        ("caf\udce9", "caf\\xe9"),
        ("caf\udc80", "caf\\x80"),  # the first and the last byte that begins no letter
        ("caf\udcff", "caf\\xff"),
        ("a\nb", "a\\nb"),
        ("$5_$10", "$5_$10"),
    ],
)
def test_a_displayed_name_can_be_written_to_any_file(name: str, expected: str) -> None:
    assert displayable(name) == expected
    assert displayable(name).encode()
