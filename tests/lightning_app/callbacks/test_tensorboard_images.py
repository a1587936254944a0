"""Which confusion matrices TensorBoard shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_app.callbacks import tensorboard_images
from lightning_app.callbacks.tensorboard_images import Pictures


@pytest.mark.parametrize(("measured", "drawn"), [(["val"], ["val/confusion"]), ([], [])])
def test_the_last_validation_is_drawn_wherever_training_ends(
    measured: list[str], drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if max_steps or a callback ends it within an epoch."""
    seen: list[str] = []
    writer = SimpleNamespace(add_figure=lambda tag, figure, step: seen.append(tag))
    monkeypatch.setattr(tensorboard_images, "tensorboard", lambda trainer: writer)
    monkeypatch.setattr(tensorboard_images, "confusion_figure", lambda counts, classes: None)
    counts = {split: {"confusion": torch.eye(2)} for split in measured}
    datamodule = SimpleNamespace(packed=SimpleNamespace(classes=["cat", "dog"]))
    trainer: Any = SimpleNamespace(datamodule=datamodule, global_step=7)
    module: Any = SimpleNamespace(results=counts)
    Pictures().on_train_end(trainer, module)
    assert seen == drawn
