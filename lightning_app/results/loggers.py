"""The loggers of a fit: TensorBoard's events and metrics.csv, continued where an earlier attempt stopped."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_app.checkpointing.run_directory import Start
from lightning_app.results.metrics_table import MetricsTable

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


def run_loggers(runs_dir: str, name: str, start: Start, epoch: Callable[[], int]) -> list[Logger]:
    """TensorBoard's events and metrics.csv, from the run's first step on.

    Args:
        epoch: returns the current one, for metrics that are logged without it.
    """
    # Hides an earlier attempt's logs of steps that will be repeated.
    purge_step = start.step if start.again else None
    tensorboard = RetryingTensorBoardLogger(
        runs_dir, name=name, version=start.version, default_hp_metric=False, purge_step=purge_step
    )
    return [tensorboard, MetricsCSVLogger(Path(tensorboard.log_dir), start.step, epoch)]


class RetryingTensorBoardLogger(TensorBoardLogger):
    """A TensorBoardLogger that warns if the disk is full or the folder gone, and catches up afterwards."""

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        if self._experiment is None:
            from lightning_app.results.tensorboard_events import RetryingWriter  # takes as long to import as torch's

            self._experiment = RetryingWriter(self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        try:
            if self.hparams:
                super().save()
            else:  # Lightning would write an empty hparams.yaml at the first log, and keep it
                self.experiment.flush()
        except OSError as error:
            log.warning(f"{self.log_dir}: {self.NAME_HPARAMS_FILE} cannot be written ({error.strerror})")


class MetricsCSVLogger(Logger):
    """Writes metrics.csv: one row per step, each with its epoch.

    Lightning's CSVLogger deletes an existing file, and starts a row for each call within a step.

    Args:
        folder: of the run.
        first_step: see MetricsTable.
        epoch: returns the current one, for metrics that are logged without it.
    """

    def __init__(self, folder: Path, first_step: int, epoch: Callable[[], int]) -> None:
        super().__init__()
        self.folder, self._first_step, self._epoch = folder, first_step, epoch
        self._table: MetricsTable | None = None

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def table(self) -> MetricsTable:
        """Opened at first use, which is rank 0's."""
        if self._table is None:
            self._table = MetricsTable(self.folder / "metrics.csv", self._first_step)
        return self._table

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        numbers = {name: float(value) for name, value in metrics.items() if name not in ("epoch", "step")}
        self.table.add(numbers, int(metrics.get("epoch", self._epoch())), step or 0)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: a table of metrics has no place for them, and config.yaml has them all."""

    @rank_zero_only
    def save(self) -> None:
        self.table.write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
