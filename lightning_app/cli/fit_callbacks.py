"""The callbacks of a fit, in order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    Checkpoint,
    LearningRateFinder,
    LearningRateMonitor,
    ProgressBar,
)

from lightning_app.callbacks.batch_statistics import AverageBatchStatistics
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import LossWatch, SkipNonFinite
from lightning_app.callbacks.progress_bar import Bar
from lightning_app.callbacks.progress_lines import PlainProgress
from lightning_app.callbacks.rank_state import RankState
from lightning_app.callbacks.reseed import Reseed
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.callbacks.tensorboard_images import Pictures
from lightning_app.callbacks.throughput import Throughput

Kind = TypeVar("Kind", bound=pl.Callback)


def our_progress(trainer: Namespace, own: Sequence[pl.Callback], on_terminal: bool) -> list[pl.Callback]:
    """A bar on a terminal, else timestamped lines; nothing if the user wants none or has another.

    Args:
        trainer: the Trainer's options.
        own: the user's callbacks.
    """
    if trainer.enable_progress_bar is False or any(isinstance(callback, ProgressBar) for callback in own):
        return []
    return [Bar() if on_terminal else PlainProgress()]


def stdout_is_terminal(launched: bool) -> bool:
    """mpirun gives its ranks a terminal too, but not one that suits a bar."""
    return sys.stdout.isatty() and not launched


def fit_callbacks(
    given: Sequence[pl.Callback],
    boundary: StepBoundary | None,
    watch: LossWatch | None,
    seed: int,
    ema_decay: float,
    logs: bool,
) -> list[pl.Callback]:
    """All callbacks of a fit. Their order matters, and is stated only here.

    Args:
        given: the user's, and those that Lightning adds for its options.
        boundary: saves and stops; None if nothing is kept.
        watch: checks the losses; None skips batches that are not finite.
        ema_decay: decay of the averaged weights; 0 turns averaging off.
    """
    tuners = [callback for callback in given if isinstance(callback, (BatchSizeFinder, LearningRateFinder))]
    savers = [callback for callback in given if isinstance(callback, Checkpoint)]
    others = [callback for callback in given if callback not in [*tuners, *savers]]
    return [
        *tuners,  # as in Lightning: they change the model or the data before anything else sees them
        *([boundary] if boundary else []),  # before EMA, which ends training by putting the average into the model
        *others,
        Reseed(seed),  # after the user's: what they draw from torch's generator changes nothing
        *([EMA(ema_decay)] if ema_decay else []),
        RankState(),  # after EMA, whose checkpoint hook has to store the average first
        AverageBatchStatistics(),  # after EMA, which puts the average into the model: these are its statistics
        watch or SkipNonFinite(),  # after the user's, so that it sees what they do to gradients or losses
        Throughput(),  # after everything that takes part in a step: its clock stops when all of it is done
        Pictures(),
        *([LearningRateMonitor(logging_interval="step")] if logs else []),
        *savers,  # as in Lightning: they see what all others have logged
    ]


def only(kind: type[Kind], callbacks: Sequence[Callback]) -> Kind:
    """The callback of a type."""
    return next(callback for callback in callbacks if isinstance(callback, kind))
