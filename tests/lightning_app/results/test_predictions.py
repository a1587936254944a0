"""predictions.csv is complete, or the previous one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_app.results.predictions import Prediction, gather_predictions, write_predictions

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


def batch(*rows: int) -> dict[str, Tensor]:
    """Predictions for rows of the cache, each with its own label and probabilities."""
    indices = torch.tensor(rows)
    return {"indices": indices, "labels": indices % 2, "probabilities": torch.stack([indices / 8, 1 - indices / 8], 1)}


def predicted(row: int) -> Prediction:
    """What batch() says about a row."""
    return row, row % 2, [row / 8, 1 - row / 8]


def test_predictions_are_in_the_order_of_the_cache() -> None:
    assert gather_predictions([batch(3, 0), batch(5)]) == [predicted(row) for row in (0, 3, 5)]


def test_every_rank_has_the_predictions_of_all_in_the_order_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(parts: list[list[Prediction]], own: list[Prediction]) -> None:
        parts[:] = [[predicted(4), predicted(1)], own]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert gather_predictions([batch(3, 0), batch(5)]) == [predicted(row) for row in (0, 1, 3, 4, 5)]
