"""Refuses options, or combinations of them, that are not supported, before the first step and in our words."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.plugins.precision import Precision

from datamodules.datamodule import ImageData
from lightning_app.errors import UsageError
from lightning_app.trainer.trainer import as_list
from models.classifier import ImageClassifier
from models.dry_run import check_takes
from models.errors import ModelError

log = logging.getLogger(__name__)
NOT_FLOAT32 = ("16-true", "bf16-true", "64-true", "64")  # the last is Lightning's other name for 64-true
NO_PLACE: dict[type, str] = {
    BatchSizeFinder: "would change data.batch_size, which is part of a run's identity and of its schedule. Choose one "
    "with python -m lightning_app bench, and set data.batch_size",
    LearningRateFinder: "looks for an attribute model.lr, but the rate is an option of the optimizer here. Compare a "
    "few short runs with --model.optimizer.init_args.lr",
    BackboneFinetuning: "looks for a module model.backbone, but that is a name here. Use --model.freeze_backbone, "
    "--model.freeze_layers or --model.head_lr_factor",
    StochasticWeightAveraging: "cannot continue from within an epoch, so a resumed run would differ. Use --ema_decay; "
    "or lightning.pytorch.callbacks.WeightAveraging and --ema_decay 0",
    ModelPruning: "changes the network's modules, so this program's checkpoints would not load into it",
}


def check_batches(data: ImageData, model: ImageClassifier, world_size: int) -> None:
    """Raise a UsageError if the data, the ranks or the backbone do not fit the batch and image sizes.

    Args:
        model: in the mode in which it will be trained.
    """
    images, batch_size = len(data.indices["train"]), data.batch_size
    if batch_size > images:
        raise UsageError(
            f"data.batch_size is {batch_size}, but there are {images} training images; set it to {images} or less: "
            "an epoch should be several batches."
        )
    if batch_size < world_size:
        raise UsageError(
            f"data.batch_size is {batch_size}, but {world_size} ranks share each batch; set it to {2 * world_size} or "
            "more, or start fewer ranks."
        )
    share = smallest_share(images, batch_size, world_size)
    for size in sorted(set(data.image_sizes)):
        try:
            check_takes(model.network, share, size)
        except ModelError as error:
            raise UsageError(explain(error, model, size, images, batch_size, world_size)) from error


def check_sides(data: ImageData, max_epochs: int | None) -> None:
    """Raise a UsageError if a run would end before it reached all its image sizes."""
    sides = len(data.image_sizes)
    if max_epochs is not None and 0 < max_epochs < sides:
        raise UsageError(
            f"data.image_size lists {sides} epochs, but trainer.max_epochs is {max_epochs}: the network would be "
            f"evaluated at {data.eval_size} pixels without training at the last sizes. Give --data.image_size one "
            f"side, or a list of {max_epochs}."
        )


def log_every_epoch(trainer: pl.Trainer, steps: int) -> None:
    """Make sure that every epoch, of this many steps, logs a training loss.

    Raises:
        UsageError: the option says never to log.
    """
    if trainer.log_every_n_steps < 1:  # type: ignore[attr-defined]  # set by a connector
        raise UsageError(f"--trainer.log_every_n_steps is {trainer.log_every_n_steps}; expected 1 or more.")  # type: ignore[attr-defined]
    if trainer.log_every_n_steps > steps:  # type: ignore[attr-defined]  # set by a connector
        log.info(f"log_every_n_steps: {steps} instead of {trainer.log_every_n_steps} (an epoch has no more steps)")  # type: ignore[attr-defined]
        trainer.log_every_n_steps = steps  # type: ignore[attr-defined]


def smallest_share(images: int, batch_size: int, world_size: int) -> int:
    """The smallest number of images that a rank may get, in a full batch or in the last one of an epoch."""
    last = images % batch_size or batch_size
    return max(last // world_size, 1)


def explain(error: ModelError, model: ImageClassifier, size: int, images: int, batch_size: int, world_size: int) -> str:
    """The cause: the image size, or too few images per rank."""
    try:
        check_takes(model.network, 2, size)
    except ModelError:
        return f"{error}; choose another data.image_size, or another model.backbone than {model.backbone}."
    share, rest = smallest_share(images, batch_size, world_size), images % batch_size
    ranks = f" over {world_size} ranks" if world_size > 1 else ""
    return (
        f"{images} training images in batches of {batch_size}{ranks} leave {share} to a rank in "
        f"{'the last batch' if rest else 'each batch'}, and {error}. Choose a data.batch_size that leaves 2 or more."
    )


def check_trainer_options(trainer: Namespace) -> None:
    """Raise a UsageError for the first Trainer option that is not supported."""
    if trainer.barebones:
        raise UsageError(
            "--trainer.barebones true turns off logging, checkpoints and progress, which are what this program is "
            "for; leave it out. python -m lightning_app bench measures the bare loop."
        )
    if str(trainer.precision) in NOT_FLOAT32:
        raise UsageError(
            f"--trainer.precision is {trainer.precision}; images, metrics and averaged weights are float32: "
            "use 32-true, or bf16-mixed or 16-mixed, which compute in fewer bits where that is safe."
        )
    for plugin in as_list(trainer.plugins):
        if isinstance(plugin, Precision):
            raise UsageError(f"--trainer.plugins has {type(plugin).__name__}; use --trainer.precision instead.")
    if any(isinstance(plugin, AsyncCheckpointIO) for plugin in as_list(trainer.plugins)):
        raise UsageError(
            "--trainer.plugins has AsyncCheckpointIO, but this program has a CheckpointIO of its own, which adds "
            "checksums; leave it out. Checkpoints take at most --checkpoint.max_share of the time."
        )
    check_callbacks(as_list(trainer.callbacks))


def check_callbacks(callbacks: Sequence[pl.Callback]) -> None:
    """Raise a UsageError for the first callback that does not work with this program."""
    for callback in callbacks:
        name = type(callback).__name__
        for kind, why in NO_PLACE.items():
            if isinstance(callback, kind):
                raise UsageError(f"--trainer.callbacks has {name}, which {why}.")


def check_averages(callbacks: Sequence[pl.Callback], ema_decay: float) -> None:
    """Raise a UsageError if a callback averages the weights too: each would undo the other's swaps."""
    for callback in callbacks:
        if ema_decay and isinstance(callback, WeightAveraging):
            raise UsageError(
                f"--trainer.callbacks has {type(callback).__name__}, but --ema_decay {ema_decay} averages the weights "
                "already; add --ema_decay 0, or leave the callback out."
            )
