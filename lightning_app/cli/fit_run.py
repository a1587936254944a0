"""Where a fit starts, and what it writes: rank 0 decides, because it writes."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from datamodules.datamodule import ImageData
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import CheckpointError, read_checkpoint, step_file
from lightning_app.checkpointing.resume_point import CHECKPOINTS
from lightning_app.checkpointing.run_directory import RunsFolder, Start
from lightning_app.errors import Finished, UsageError
from lightning_app.launchers.detection import this_launch
from lightning_app.library.own_process import NeedsOwnProcess, is_own_process
from lightning_app.results.loggers import MetricsCSVLogger
from lightning_app.trainer.strategy import LocalEnvironment
from lightning_app.trainer.trainer import as_list
from models.classifier import ImageClassifier
from models.errors import ModelError
from models.weights import check_fit

log = logging.getLogger(__name__)
# Tells the processes that a local ddp run starts where to start.
START_VARIABLE = "LIGHTNING_APP_START"


@dataclass(frozen=True)
class FitRun:
    """A fit that knows where it starts.

    Attributes:
        runs: the versions of its name; holds the lock on this one.
        start: which version, and from which checkpoint.
    """

    runs: RunsFolder
    start: Start

    @classmethod
    def begin(cls, trainer: pl.Trainer, runs: RunsFolder, resume: str) -> FitRun:
        """Decide on rank 0, and tell all ranks.

        Raises:
            UsageError: as RunsFolder.start(), on every rank.
            Finished: there is nothing to do.
        """
        start = agreed_start(trainer, lambda: runs.start(resume))
        if start.finished:
            raise Finished
        return cls(runs, start)

    @property
    def folder(self) -> Path:
        """<runs_dir>/<name>/version_<n>."""
        return self.runs.version(self.start.version)

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / CHECKPOINTS

    def discard(self) -> None:
        """Remove the folder of a run that this attempt started, before its first step, while it is empty."""
        if not self.start.again and not list(self.checkpoints.glob("*.ckpt")):
            self.runs.let_go()
            shutil.rmtree(self.folder, ignore_errors=True)

    def load_best(self, model: ImageClassifier, best: BestChoice, trainer: pl.Trainer) -> tuple[int, int]:
        """Load the weights of the best validation, or the last ones if nothing was validated.

        Done by hand, because trainer.test(ckpt_path=...) on this trainer would undo the averaging.

        Returns:
            Epochs and optimizer steps that are behind these weights.
        """
        if trainer.global_step == 0:
            return 0, 0  # max_epochs or max_steps is 0: the weights that it started with
        last = step_file(self.checkpoints, trainer.global_step)
        for path in dict.fromkeys((self.checkpoints / best.file if best.file else last, last)):
            try:
                checkpoint = read_checkpoint(path)
            except CheckpointError as error:
                if trainer.is_global_zero:
                    log.warning(f"{error} Testing the last weights instead.")
                continue
            model.load_state_dict(checkpoint["state_dict"])
            model.results.update(checkpoint.get("results", {}))  # what validation measured with these weights
            return checkpoint["epoch"], checkpoint["global_step"]
        return trainer.current_epoch, trainer.global_step


def require_own_process(trainer: pl.Trainer) -> None:
    """Raise NeedsOwnProcess if Lightning would start ranks with a command line that is not ours."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    starts_ranks = isinstance(environment, LocalEnvironment) and not environment.creates_processes_externally
    if starts_ranks and trainer.num_devices > 1 and not is_own_process():
        log.info("ddp: this process runs another program, so the ranks start in separate processes")
        raise NeedsOwnProcess


def agreed_start(trainer: pl.Trainer, decide: Callable[[], Start]) -> Start:
    """Rank 0's decision, on every rank; its exceptions too."""
    launch = this_launch()
    if launch.launcher == "lightning":
        return Start.loads(os.environ[START_VARIABLE])
    if launch.external:
        trainer.strategy.setup_environment()  # the ranks have to connect now, and not only in fit
    decision: Start | UsageError | None = None
    if trainer.is_global_zero:
        try:
            decision = decide()
        except UsageError as error:
            decision = error
    decision = trainer.strategy.broadcast(decision) if launch.external else decision
    if isinstance(decision, UsageError):
        raise decision
    assert decision is not None
    os.environ[START_VARIABLE] = decision.dumps()
    return decision


def check_goes_on(model: ImageClassifier, data: ImageData) -> Callable[[dict[str, Any], Path], None]:
    """A check that raises a CheckpointError if a checkpoint has other data or another network."""

    def check(checkpoint: dict[str, Any], path: Path) -> None:
        theirs, packed = checkpoint["run"]["facts"].get("data"), data.packed
        if theirs not in (None, packed.content):  # None: written before this was recorded
            raise CheckpointError(
                f"{path} was trained on other data: its images, labels, classes and splits were {theirs}, those in "
                f"{packed.folder} are {packed.content}. Restore the data that it started with."
            )
        try:
            check_fit(model.state_dict(), checkpoint["state_dict"], set(), str(path))
        except ModelError as error:
            raise CheckpointError(str(error)) from error

    return check


def all_loggers(ours: Sequence[Logger], asked_for: Any) -> list[Logger]:
    """Ours, or the user's after our metrics.csv, which curves and cards need.

    The first logger decides where Lightning's callbacks write: into the run's folder, whatever the user's loggers are.

    Args:
        ours: TensorBoard's and metrics.csv.
        asked_for: the Trainer's option `logger`; false keeps only metrics.csv.
    """
    if asked_for in (None, True):
        return list(ours)
    table = [logger for logger in ours if isinstance(logger, MetricsCSVLogger)]
    return [*table, *(as_list(asked_for) if asked_for else [])]
