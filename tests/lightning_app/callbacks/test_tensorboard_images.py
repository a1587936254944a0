"""Which images TensorBoard shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_app.callbacks import tensorboard_images
from lightning_app.callbacks.tensorboard_images import Pictures, tensorboard

CONFUSION = {"val": [[5, 1], [2, 4]], "test": [[7, 0], [3, 2]]}


@pytest.mark.parametrize(
    ("hook", "measured", "drawn"),
    [
        ("on_train_end", ["val", "test"], "val"),
        ("on_train_end", [], None),
        ("on_test_end", ["val", "test"], "test"),
    ],
)
def test_the_last_validation_is_drawn_wherever_training_ends_and_the_test_after_it(
    hook: str, measured: list[str], drawn: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if max_steps or a callback ends training within an epoch."""
    seen: list[Any] = []
    writer = SimpleNamespace(add_figure=lambda tag, figure, step: seen.append((tag, figure, step)))
    monkeypatch.setattr(tensorboard_images, "tensorboard", lambda trainer: writer)
    monkeypatch.setattr(tensorboard_images, "confusion_figure", lambda counts, classes: (counts.tolist(), classes))
    results = {split: {"confusion": torch.tensor(CONFUSION[split])} for split in measured}
    datamodule = SimpleNamespace(packed=SimpleNamespace(classes=["cat", "dog"]))
    trainer: Any = SimpleNamespace(datamodule=datamodule, global_step=7)
    module: Any = SimpleNamespace(results=results)
    getattr(Pictures(), hook)(trainer, module)
    assert seen == ([(f"{drawn}/confusion", (CONFUSION[drawn], ["cat", "dog"]), 7)] if drawn else [])


def test_the_first_batch_of_a_run_is_drawn_up_to_64_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, torch.Size]] = []
    writer = SimpleNamespace(add_image=lambda tag, image, step: seen.append((tag, image.shape)))
    monkeypatch.setattr(tensorboard_images, "tensorboard", lambda trainer: writer)
    batch = SimpleNamespace(images=torch.zeros(80, 3, 4, 6))
    for step in (0, 1):
        trainer: Any = SimpleNamespace(global_step=step)
        Pictures().on_train_batch_start(trainer, None, batch, 0)  # type: ignore[arg-type]  # unused
    assert seen == [("train/batch", torch.Size([3, 8 * (4 + 2) + 2, 8 * (6 + 2) + 2]))]  # a margin of 2


def test_only_rank_zero_draws_and_only_into_tensorboard(tmp_path: Path) -> None:
    other, ours = CSVLogger(tmp_path), TensorBoardLogger(tmp_path)
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[other])
    assert tensorboard(trainer) is None
    trainer.loggers = [other, ours]
    assert tensorboard(trainer) is ours.experiment
    trainer.is_global_zero = False
    assert tensorboard(trainer) is None
