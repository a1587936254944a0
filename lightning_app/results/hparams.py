"""HPARAMS: the options that distinguish runs, flat, for TensorBoard's table and for sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from lightning_app.results.finished_run import FinishedRun

Value = bool | int | float | str
# Options for where a run is kept and how it started, not what it learnt.
LEFT_OUT = {"config", "name", "resume", "runs_dir"}
# Shown for every run, so that the table has no gaps in the columns that people look at first.
ALWAYS = (
    "seed_everything",
    "model.backbone",
    "model.optimizer.class_path",
    "model.optimizer.init_args.lr",
    "data.batch_size",
    "data.image_size",
    "trainer.max_epochs",
)


def hparams(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Value]:
    """Every option that differs from its default, and those in ALWAYS, by full name.

    Args:
        options: of a fit, flat: dotted names as on the command line.
        defaults: the same for a command line without options.

    Returns:
        Numbers, truth values and texts as they are; null and lists as JSON.
    """
    missing = object()
    changed = {name for name, value in options.items() if defaults.get(name, missing) != value}
    names = [name for name in options if name in changed - LEFT_OUT or name in ALWAYS]
    return {name: value if isinstance(value := options[name], Value) else json.dumps(value) for name in names}


def write_hparams(run: FinishedRun) -> None:
    """Fill TensorBoard's HPARAMS tab: options, and the final metrics next to them."""
    for logger in run.trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(run.hparams), run.metrics(), step=run.trainer.global_step)
            logger.save()
