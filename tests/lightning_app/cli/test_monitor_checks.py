"""A metric that a callback or the schedule waits for is logged by this run, when it is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from lightning_app.cli.monitor_checks import Monitor, check_logged, check_validated, logs_more, monitors
from lightning_app.errors import UsageError
from models.classifier import ImageClassifier

LIGHTNINGS = "lightning.pytorch.cli.ReduceLROnPlateau"


class Own(EarlyStopping):
    """A user's, which may log something."""


class OwnModel(ImageClassifier):
    """A user's, which may log something too."""


def test_early_stopping_checkpoints_and_a_plateau_wait_for_metrics() -> None:
    late = EarlyStopping("train/loss", check_on_train_epoch_end=True)
    callbacks = [EarlyStopping("val/loss"), late, ModelCheckpoint(monitor="val/acc"), ModelCheckpoint()]
    schedule = {"class_path": LIGHTNINGS, "init_args": {"monitor": "val/f1"}}
    assert [monitor[:3] for monitor in monitors(callbacks, schedule)] == [
        ("EarlyStopping's monitor", "val/loss", False),
        ("EarlyStopping's monitor", "train/loss", True),
        ("ModelCheckpoint's monitor", "val/acc", False),
        ("the monitor of model.lr_scheduler", "val/f1", True),
    ]


@pytest.mark.parametrize(
    ("schedule", "metrics"),
    [
        (None, []),
        ("my_module.make_schedule", []),
        ({"class_path": "torch.optim.lr_scheduler.StepLR"}, []),
        ({"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, ["val/loss"]),
    ],
)
def test_of_the_schedules_only_a_plateau_waits(schedule: dict[str, Any] | str | None, metrics: list[str]) -> None:
    assert [monitor.metric for monitor in monitors([LearningRateMonitor()], schedule)] == metrics


def test_a_metric_that_nobody_logs_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"Its monitor is val_loss; expected one of train/loss, .* mean val/loss\?"):
        check_logged("Its monitor", "val_loss")
    for metric in ("val/loss", "train/loss", "epoch"):
        check_logged("Its monitor", metric)


def test_a_user_s_class_may_log_any_metric() -> None:
    plain, own = ImageClassifier(2, weights="none"), OwnModel(2, weights="none")
    assert not logs_more(plain, [EarlyStopping("val/loss")])
    assert logs_more(plain, [Own("mine")])
    assert logs_more(own, [])


@pytest.mark.parametrize(
    ("images", "limit", "every", "said"),
    [
        (0, 1.0, 1, "there are no validation images; set data.val_fraction, or monitor train/loss"),
        (9, 0, 1, "trainer.limit_val_batches is 0; leave that out"),
        (9, 1.0, 2, "trainer.check_val_every_n_epoch is 2, and it is needed after every epoch"),
    ],
)
def test_a_metric_of_a_validation_that_is_left_out_is_refused(images: int, limit: float, every: int, said: str) -> None:
    trainer: Any = SimpleNamespace(limit_val_batches=limit, check_val_every_n_epoch=every)
    with pytest.raises(UsageError, match=f"Its monitor is val/loss, but {said}"):
        check_validated(Monitor("Its monitor", "val/loss", every_epoch=True), images, trainer)
    check_validated(Monitor("Its monitor", "train/loss", every_epoch=True), images, trainer)


@pytest.mark.parametrize(("every", "every_epoch"), [(1, True), (2, False), (None, True)])
def test_a_metric_of_a_validation_that_comes_is_not(every: int | None, every_epoch: bool) -> None:
    trainer: Any = SimpleNamespace(limit_val_batches=2, check_val_every_n_epoch=every)
    check_validated(Monitor("Its monitor", "val/loss", every_epoch), 9, trainer)
