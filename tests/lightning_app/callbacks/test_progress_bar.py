"""The bar shows the loss that was logged last, and reads it from a device only at a step that logs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from lightning_app.callbacks.progress_bar import Bar


def test_the_bar_shows_the_last_logged_loss_until_the_next_is_logged() -> None:
    bar, shown = Bar(), []
    for step, loss in enumerate([None, 4.0, 3.0, 2.0, 1.0]):
        trainer: Any = SimpleNamespace(training=True, global_step=step, log_every_n_steps=2)
        trainer.loggers, trainer.progress_bar_metrics = [], {"lr": 0.5}
        trainer.callback_metrics = {} if loss is None else {"train/loss": torch.tensor(loss)}
        shown.append(bar.get_metrics(trainer, None))  # type: ignore[arg-type]  # unused
    losses = [metrics.pop("train/loss", None) for metrics in shown]
    assert losses == [None, None, "3.000", "3.000", "1.000"]
    assert shown == [{"lr": 0.5}] * 5


def test_a_validation_reads_no_loss() -> None:
    trainer: Any = SimpleNamespace(training=False, global_step=4, log_every_n_steps=2, loggers=[])
    trainer.progress_bar_metrics, trainer.callback_metrics = {}, {"train/loss": torch.tensor(1.0)}
    assert Bar().get_metrics(trainer, None) == {}  # type: ignore[arg-type]  # unused
