"""Any folder's name can be drawn, or is replaced by something that can."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

from lightning_app.results import class_labels as subject
from lightning_app.results.class_labels import DEFAULT_FONT, class_labels, printable
from lightning_app.results.plots import confusion_figure

NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_names_that_the_default_font_has_are_drawn_as_they_are() -> None:
    labels = class_labels(["$5_$10", "naïve", r"a\b", "Ω"])
    assert (labels.texts, labels.fonts, labels.note) == (["$5_$10", "naïve", r"a\b", "Ω"], [DEFAULT_FONT], "")


@pytest.mark.parametrize(
    ("name", "shown"), [(NOT_UTF8, r"caf\udce9"), ("a\nb", r"a\nb"), ("tab\t", r"tab\t"), ("\x7f", r"\x7f")]
)
def test_what_no_text_can_show_is_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_a_name_that_no_font_has_is_a_number_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = [(DEFAULT_FONT, set("acdgot")), ("Kana", set("ねこ"))]
    monkeypatch.setattr(subject, "font_coverage", lambda: iter(fonts))
    labels = class_labels(["cat", "ねこ", "dog 犬"])
    assert labels.texts == ["cat", "ねこ", "class 2"]
    assert labels.fonts == [DEFAULT_FONT, "Kana"]
    assert "numbered" in labels.note


@pytest.mark.parametrize("name", ["$5_$10", "$x", "a$b^", NOT_UTF8, "猫", "🐈", "a\nb", r"\frac", "%", "\x01"])
def test_a_confusion_matrix_of_any_names_is_drawn_without_a_word(name: str, tmp_path: os.PathLike) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_figure(np.array([[3, 1], [0, 2]]), [name, "other"])
        figure.savefig(os.path.join(tmp_path, "confusion.png"))
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks[1] == "other"
    if name.startswith("$"):
        assert ticks[0] == name


def test_the_title_is_the_accuracy() -> None:
    figure = confusion_figure(np.array([[3, 1], [0, 4]]), ["a", "b"])
    assert figure.axes[0].get_title() == "accuracy 87.50% (7 of 8)"
