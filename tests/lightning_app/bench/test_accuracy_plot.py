"""Accuracy over minutes, from TensorBoard logs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from lightning_app.bench.accuracy_plot import main, read_recipe

BEGIN = 1_700_000_000.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as it logs: a step, two validations, the test, and once more what the best checkpoint had."""
    folder = tmp_path / "quick/version_0"
    with SummaryWriter(str(folder)) as log:
        log.add_scalar("train/loss", 1.0, 1, BEGIN + 60)
        log.add_scalar("val/acc", 0.5, 10, BEGIN + 120)
        log.add_scalar("val/acc", 0.75, 20, BEGIN + 180)
        log.add_scalar("test/acc", 0.7, 20, BEGIN + 190)
        log.add_scalar("val/acc", 0.75, 20, BEGIN + 191)
        log.add_scalar("test/acc", 0.7, 20, BEGIN + 191)
    return folder


def test_minutes_and_percent_of_validations_and_of_the_one_test(run: Path) -> None:
    recipe = read_recipe(f"thirty minutes={run}")
    assert recipe.name == "thirty minutes"
    [begin, end] = [when for when, _ in recipe.curves["val/acc"]]
    assert end - begin == pytest.approx(1.0, abs=1e-3)
    assert [right for _, right in recipe.curves["val/acc"]] == [50.0, 75.0]
    assert [round(right, 3) for _, right in recipe.curves["test/acc"]] == [70.0]


def test_a_run_without_a_name_has_that_of_its_folder(run: Path) -> None:
    assert read_recipe(str(run)).name == "quick"


def test_the_picture_is_drawn(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes", str(tmp_path / "curves.png"), f"quick={run}"])
    main()
    with Image.open(tmp_path / "curves.png") as picture:
        assert len(picture.convert("L").getcolors() or []) > 2


def test_what_is_no_run_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes", str(tmp_path / "curves.png"), f"x={tmp_path}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"{tmp_path} has no TensorBoard log with val/acc" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()
