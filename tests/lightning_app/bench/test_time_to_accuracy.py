"""Seconds to an accuracy, ours and the original loop's, from recorded runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from lightning_app.bench.time_to_accuracy import read_run, time_to_accuracy
from lightning_app.errors import UsageError

BEGIN = 1_700_000_000.0


def record(folder: Path, batch_size: int, validations: list[tuple[int, float]], test: tuple[int, float]) -> Path:
    """Validations and the test, each as many seconds after the first log as its step."""
    with SummaryWriter(str(folder)) as log:
        log.add_scalar("train/loss", 1.0, 0, BEGIN)
        for step, accuracy in validations:
            log.add_scalar("val/acc", accuracy, step, BEGIN + step)
        log.add_scalar("test/acc", test[1], test[0], BEGIN + test[0] + 1)
    (folder / "config.yaml").write_text(f"data:\n  batch_size: {batch_size}\n")
    return folder


def test_the_original_s_time_is_its_images_until_then_over_the_speed_of_now(tmp_path: Path) -> None:
    ours = record(tmp_path / "ours", 32, [(100, 0.5)], (399, 0.75))
    original = record(tmp_path / "original", 64, [(100, 0.5), (200, 0.8125), (300, 0.9375)], (300, 0.875))
    # 200 steps of 64 images at the median of 4 images/s are 3,200 s, against 400.
    assert time_to_accuracy(original, ours, [1.0, 4.0, 5.0]) == (
        "75.00% test accuracy: ours after 400 s, the original loop after 3,200 s (12,800 images at 4.0 images/s): "
        "8.0 times as fast."
    )


def test_an_accuracy_that_the_original_never_had_is_said(tmp_path: Path) -> None:
    ours = record(tmp_path / "ours", 32, [], (399, 0.75))
    original = record(tmp_path / "original", 64, [(100, 0.5)], (100, 0.625))
    assert time_to_accuracy(original, ours, [4.0]).endswith("the original recipe never reached it in its recorded run.")


def test_what_is_no_run_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected runs/<name>/<version>"):
        read_run(tmp_path)
