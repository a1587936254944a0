"""Options of the Trainer that cannot be had with this program, or not together, said before anything is built."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    WeightAveraging,
)
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from lightning_app.errors import UsageError
from lightning_app.trainer.trainer import as_list

# What the model logs, and so what a callback of Lightning can monitor.
METRICS = ("train/loss", *(f"val/{name}" for name in ("acc", "top3", "ece", "loss", "balanced_acc", "f1")))
NO_PLACE: dict[type, str] = {
    BatchSizeFinder: "would change data.batch_size, which is part of what a run is and of its schedule. Choose one "
    "with python -m lightning_app bench, and set data.batch_size",
    LearningRateFinder: "looks for an attribute model.lr, and the rate is an option of the optimizer here. Compare a "
    "few short runs with --model.optimizer.init_args.lr",
    BackboneFinetuning: "looks for a module model.backbone, which is a name here. Use --model.freeze_backbone, "
    "--model.freeze_layers or --model.head_lr_factor",
    ModelPruning: "changes the modules of the network, which a checkpoint of this program could not be loaded into",
}


def check_trainer_options(trainer: Namespace) -> None:
    """Raise a UsageError for the first option of the Trainer that cannot be had here."""
    if trainer.barebones:
        raise UsageError(
            "--trainer.barebones true turns off logging, checkpoints and progress, which is what this program is for; "
            "leave it out. python -m lightning_app bench measures the bare loop."
        )
    if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
        raise UsageError(
            f"--trainer.precision is {trainer.precision}; images, metrics and averaged weights are float32: "
            "use 32-true, or bf16-mixed or 16-mixed, which compute in fewer bits where that is safe."
        )
    if any(isinstance(plugin, AsyncCheckpointIO) for plugin in as_list(trainer.plugins)):
        raise UsageError(
            "--trainer.plugins has AsyncCheckpointIO, but this program has a CheckpointIO of its own, which adds "
            "checksums; leave it out. Checkpoints are kept to --checkpoint.max_share of the time."
        )
    check_callbacks(as_list(trainer.callbacks))


def check_callbacks(callbacks: Sequence[pl.Callback]) -> None:
    """Raise a UsageError for the first callback that does not go with this program."""
    for callback in callbacks:
        name = type(callback).__name__
        for kind, why in NO_PLACE.items():
            if isinstance(callback, kind):
                raise UsageError(f"--trainer.callbacks has {name}, which {why}.")
        if isinstance(callback, (EarlyStopping, ModelCheckpoint)) and callback.monitor is not None:
            check_monitor(f"{name}'s monitor", callback.monitor, callbacks)


def check_averages(callbacks: Sequence[pl.Callback], ema_decay: float) -> None:
    """Raise a UsageError where a callback averages the weights beside ours: each would undo the other's swaps."""
    for callback in callbacks:
        if ema_decay and isinstance(callback, WeightAveraging):
            raise UsageError(
                f"--trainer.callbacks has {type(callback).__name__}, but --ema_decay {ema_decay} averages the weights "
                "already; add --ema_decay 0, or leave the callback out."
            )


def check_monitor(what: str, monitor: str, callbacks: Sequence[pl.Callback] = ()) -> None:
    """Raise a UsageError where a metric is monitored that nobody logs; a callback of the user's own may log any."""
    own = [callback for callback in callbacks if not type(callback).__module__.startswith("lightning.")]
    if own or monitor in (*METRICS, "epoch", "step"):
        return
    near = difflib.get_close_matches(monitor, METRICS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"{what} is {monitor}; expected one of {', '.join(METRICS)}{hint}")
