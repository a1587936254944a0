"""predictions.csv is complete, or the previous one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_app.results.predictions import write_predictions

CLASSES = ["cat", "dog"]


def test_a_table_that_cannot_be_written_leaves_the_one_of_before(tmp_path: Path, mount: Callable[[str], Path]) -> None:
    file = mount("size=64k") / "predictions.csv"
    write_predictions(file, [(0, 1, [0.25, 0.75])], ["a.png"], CLASSES)
    before = file.read_text()
    assert before.splitlines() == ["image,label,prediction,cat,dog", "a.png,dog,dog,0.250000,0.750000"]
    with pytest.raises(OSError, match="No space left"):
        write_predictions(file, [(0, 1, [0.25, 0.75])] * 10_000, ["a.png"], CLASSES)
    assert file.read_text() == before
    assert list(file.parent.iterdir()) == [file]


def test_names_that_are_no_utf8_are_escaped(tmp_path: Path) -> None:
    names, classes = [os.fsdecode(b"caf\xe9.png"), "猫.png"], ["$5_$10", os.fsdecode(b"\xff")]
    write_predictions(tmp_path / "predictions.csv", [(0, 1, [0.25, 0.75]), (1, 0, [1.0, 0.0])], names, classes)
    assert (tmp_path / "predictions.csv").read_bytes().decode().splitlines() == [
        r"image,label,prediction,$5_$10,\udcff",
        r"caf\udce9.png,\udcff,\udcff,0.250000,0.750000",
        "猫.png,$5_$10,$5_$10,1.000000,0.000000",
    ]
