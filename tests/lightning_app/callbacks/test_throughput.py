"""Images/s has one point at every logged step, whatever the attempts, and counts all images between two."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_app.callbacks import throughput
from lightning_app.callbacks.throughput import Throughput

IMAGES = 8


class Noted:
    """A logger that keeps the steps of its points."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.steps.append(step)


def train(steps: range, accumulate: int, per_epoch: int, callback: Throughput) -> list[int]:
    """Take optimizer steps in one attempt; the steps of the points."""
    logger, batch = Noted(), SimpleNamespace(global_size=IMAGES, images=torch.empty(1, 3, 4, 4))
    trainer: Any = SimpleNamespace(global_step=steps.start, log_every_n_steps=4, loggers=[logger])
    module: Any = None
    callback.on_train_start(trainer, module)
    for step in steps:
        if step % per_epoch == 0:
            callback.on_train_epoch_start(trainer, module)
        for index in range(accumulate):
            callback.on_train_batch_start(trainer, module, batch, index)
            trainer.global_step = step + (index == accumulate - 1)
            callback.on_train_batch_end(trainer, module, None, batch, index)
    return logger.steps


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("stopped", range(1, 20))
def test_two_attempts_have_the_points_of_one(stopped: int, accumulate: int) -> None:
    attempts = (range(stopped), range(stopped, 20))
    steps = [step for attempt in attempts for step in train(attempt, accumulate, 7, Throughput())]
    assert steps == [3, 7, 11, 15, 19]


def test_the_images_of_all_batches_between_two_points_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 4.0, 8.0])  # the first batch begins and ends, then the two points
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(seconds))
    callback = Throughput()
    train(range(8), 2, 100, callback)
    assert callback.rates == [3 * 2 * IMAGES / 3.0, 4 * 2 * IMAGES / 4.0]


def test_the_median_is_over_all_attempts() -> None:
    first, second = Throughput(), Throughput()
    assert first.median is None
    first.rates = [5.0, 1.0, 2.0]
    second.load_state_dict(first.state_dict())
    assert second.median == 2.0
    second.rates += [7.0, 8.0]
    assert (second.median, first.median) == (5.0, 2.0)
