"""Batches that nobody can train on are refused before the first one, and not with torch's words at the last."""

from __future__ import annotations

import logging

import lightning.pytorch as pl

from datamodules.datamodule import ImageData
from lightning_app.errors import UsageError
from models.classifier import ImageClassifier
from models.dry_run import check_takes
from models.errors import ModelError

log = logging.getLogger(__name__)


def check_batches(data: ImageData, model: ImageClassifier, world_size: int) -> None:
    """Raise a UsageError where the data, the ranks or the backbone don't go with the sizes of batch and images.

    Args:
        data: packed.
        model: in the mode in which it will be trained.
        world_size: ranks that share a batch.
    """
    images, batch_size = len(data.rows["train"]), data.batch_size
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
    """Raise a UsageError where a run would end before it came to all sides of its images."""
    sides = len(data.image_sizes)
    if max_epochs is not None and 0 < max_epochs < sides:
        raise UsageError(
            f"data.image_size names {sides} epochs, but trainer.max_epochs is {max_epochs}: it would never "
            f"be trained at the last of them, and be evaluated at {data.eval_size} pixels. Give --data.image_size one "
            f"side, or {max_epochs} as a list."
        )


def log_every_epoch(trainer: pl.Trainer, steps: int) -> None:
    """Let no epoch, of so many steps, pass without a training loss.

    Raises:
        UsageError: it never logs.
    """
    if trainer.log_every_n_steps < 1:  # type: ignore[attr-defined]  # set by a connector
        raise UsageError(f"--trainer.log_every_n_steps is {trainer.log_every_n_steps}; expected 1 or more.")  # type: ignore[attr-defined]
    if trainer.log_every_n_steps > steps:  # type: ignore[attr-defined]  # set by a connector
        log.info(f"log_every_n_steps: {steps} instead of {trainer.log_every_n_steps} (an epoch has no more)")  # type: ignore[attr-defined]
        trainer.log_every_n_steps = steps  # type: ignore[attr-defined]


def smallest_share(images: int, batch_size: int, world_size: int) -> int:
    """Images that a rank may have to make do with, in a whole batch or in the last one of an epoch."""
    last = images % batch_size or batch_size
    return max(last // world_size, 1)


def explain(error: ModelError, model: ImageClassifier, size: int, images: int, batch_size: int, world_size: int) -> str:
    """Whose fault it is: the size of the images, or how few come together."""
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
