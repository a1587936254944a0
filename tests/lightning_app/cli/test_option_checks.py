"""The smallest part of a batch that a rank gets, and options that would undo each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import LearningRateMonitor, WeightAveraging

from datamodules.sampling import TrainShards
from lightning_app.cli.option_checks import check_averages, log_every_epoch, smallest_share
from lightning_app.errors import UsageError


@pytest.mark.parametrize("images", [7, 8, 9, 31, 33])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_it_is_that_of_the_shards(images: int, batch_size: int, world_size: int) -> None:
    ranks = [TrainShards(images, batch_size, rank, world_size, epoch=lambda: 0) for rank in range(world_size)]
    assert smallest_share(images, batch_size, world_size) == min(shard.size for rank in ranks for shard in rank)


class OwnAverage(WeightAveraging):
    """A user's."""


def test_weights_are_averaged_by_one_callback_only() -> None:
    others = [LearningRateMonitor()]
    check_averages([*others, OwnAverage()], ema_decay=0.0)
    check_averages(others, ema_decay=0.5)
    with pytest.raises(
        UsageError, match=r"has OwnAverage, but --ema_decay 0\.5 averages .* add --ema_decay 0, or leave"
    ):
        check_averages([*others, OwnAverage()], ema_decay=0.5)


@pytest.mark.parametrize(
    ("every", "then", "said"),
    [(3, 3, []), (4, 4, []), (5, 4, ["log_every_n_steps: 4 instead of 5 (an epoch has no more steps)"])],
)
def test_each_epoch_logs_at_least_one_loss(
    every: int, then: int, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trainer: Any = SimpleNamespace(log_every_n_steps=every)
    log_every_epoch(trainer, steps=4)
    assert (trainer.log_every_n_steps, caplog.messages) == (then, said)


def test_never_logging_is_an_error() -> None:
    trainer: Any = SimpleNamespace(log_every_n_steps=0)
    with pytest.raises(UsageError, match="log_every_n_steps is 0; expected 1 or more"):
        log_every_epoch(trainer, steps=4)
