"""TensorBoard's events and metrics.csv, continued where an earlier attempt of the run left them."""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_app.checkpointing.run_directory import Start
from lightning_app.files import append, replace_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


def run_loggers(runs_dir: str, name: str, start: Start) -> list[Logger]:
    """TensorBoard's events and metrics.csv, from the step on where the run begins."""
    # Hides what an earlier attempt logged of steps that come again.
    purge_step = start.step if start.again else None
    tensorboard = PatientLogger(
        runs_dir, name=name, version=start.version, default_hp_metric=False, purge_step=purge_step
    )
    return [tensorboard, ContinuedCSVLogger(runs_dir, name, start.version, start.step)]


class PatientLogger(TensorBoardLogger):
    """A TensorBoardLogger that warns where the disk is full or the folder gone, and goes on when that is mended."""

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        if self._experiment is None:
            from lightning_app.results.tensorboard_events import PatientWriter  # takes as long to import as torch's

            self._experiment = PatientWriter(self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        try:
            if self.hparams:
                super().save()
            else:  # Lightning's would leave a file of no hyper-parameters at the first log, and keep it
                self.experiment.flush()
        except OSError as error:
            log.warning(f"{self.log_dir}: {self.NAME_HPARAMS_FILE} cannot be written ({error.strerror})")


class ContinuedCSVLogger(CSVLogger):
    """A CSVLogger that keeps what was logged before a step; Lightning's deletes the file that it finds.

    Args:
        save_dir, name, version: as in CSVLogger.
        step: rows of this step and later ones are dropped: they will be logged again.
    """

    def __init__(self, save_dir: str, name: str, version: int, step: int) -> None:
        super().__init__(save_dir, name, version)
        self.step = step

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = ContinuedWriter(self.log_dir, self.step)
        return self._experiment  # type: ignore[return-value]  # set above


class ContinuedWriter(ExperimentWriter):
    """Appends to a table; rewrites it whole, in one rename, where a column is added."""

    def __init__(self, log_dir: str, step: int) -> None:
        self.step = step
        self.said = False  # that the table cannot be written
        super().__init__(log_dir)

    def _check_log_dir_exists(self) -> None:
        """Where Lightning's deletes the table, keep the rows before `step`, without a line that a kill cut short."""
        self.path = Path(self.metrics_file_path)
        self._keep_damaged()
        rows = [row for row in read_rows(self.path) if int(row["step"]) < self.step]
        self.metrics_keys = list(rows[0]) if rows else []
        if rows:  # in one rename: a process that is killed here must not take them along
            replace_file(self.path, table(self.metrics_keys, rows))
        else:
            self.path.unlink(missing_ok=True)

    def _keep_damaged(self) -> None:
        """Put a copy aside of a table of which lines are lost, other than the last."""
        lost = len(whole_lines(self.path)[1:]) - len(read_rows(self.path))
        if lost:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            replace_file(aside, self.path.read_bytes())
            log.warning(f"{self.path} is damaged: {lost} of its lines are left out; as it was, it is {aside.name}")

    def save(self) -> None:
        """Append what was logged; where that fails, it is kept for the next time."""
        if not self.metrics:
            return
        columns = list(self.metrics_keys)
        try:
            self._append(self._record_new_keys())
            self.metrics, self.said = [], False
        except OSError as error:
            self.metrics_keys = columns  # those of the file
            if not self.said:
                log.warning(f"{self.path} cannot be written ({error.strerror}); its rows are kept for later")
            self.said = True

    def _append(self, new_keys: set[str]) -> None:
        if new_keys or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, table(self.metrics_keys, [*read_rows(self.path), *self.metrics]))
        else:
            append(self.path, table(self.metrics_keys, self.metrics, header=False))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that are whole: a step, and a number or nothing in each of the other columns."""
    columns, *rows = [fields(line) for line in whole_lines(path)] or [[]]
    found = [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
    return [row for row in found if row.get("step", "").isdecimal() and all(map(is_number, filter(None, row.values())))]


def whole_lines(path: Path) -> list[str]:
    """The lines of a text, damaged bytes and all, without a last one that was cut short."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return [line for line in text.split("\n")[:-1] if line]


def fields(line: str) -> list[str]:
    """One line of a table, for itself: a quotation mark too many costs no other line. Empty if it is none."""
    try:
        return next(csv.reader([line]))
    except csv.Error:  # a zero byte, before Python 3.11
        return []


def is_number(text: str) -> bool:
    """Whether a text is one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def table(columns: list[str], rows: list, header: bool = True) -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
