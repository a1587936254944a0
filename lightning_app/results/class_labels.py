"""Class names that a plot can show: a name may be any folder's name, so it may contain any bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.text import Text

DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib


@dataclass(frozen=True)
class ClassLabels:
    """How to draw class names.

    Attributes:
        texts: one per class.
        fonts: families to draw them in; each character uses the first family that has it.
        note: for the axis label; says if numbers replace names.
    """

    texts: list[str]
    fonts: list[str]
    note: str = ""


def class_labels(classes: list[str]) -> ClassLabels:
    """Names unchanged if a font on this machine has their characters; the others are numbered from 0."""
    names = [printable(name) for name in classes]
    missing, fonts = set("".join(names)), []
    for family, characters in font_coverage():
        if missing & characters:
            fonts.append(family)
            missing -= characters
        if not missing:
            break
    texts = [f"class {number}" if missing & set(name) else name for number, name in enumerate(names)]
    note = "" if texts == names else " (no font has the characters of the numbered classes)"
    return ClassLabels(texts, fonts or [DEFAULT_FONT], note)


def printable(name: str) -> str:
    """A name with control characters and invalid UTF-8 bytes escaped."""
    text = name.encode(errors="backslashreplace").decode()
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def font_coverage() -> Iterator[tuple[str, set[str]]]:
    """Font families on this machine and the characters that each has, matplotlib's first."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name != DEFAULT_FONT, font.name))
    for font in fonts:
        try:
            yield font.name, set(map(chr, FT2Font(font.fname).get_charmap()))
        except (OSError, RuntimeError):  # gone since matplotlib listed it, or of a type that it cannot draw
            continue


def draw_text_as_it_is(texts: Iterable[Text], fonts: list[str]) -> None:
    """Use these fonts, and do not treat $ as mathematics."""
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(fonts)
