"""TensorBoard's events and metrics.csv, continued where an earlier attempt of the run left them."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lightning_app.files import replace_file
from lightning_app.runs import Start

log = logging.getLogger(__name__)


def run_loggers(runs_dir: str, name: str, start: Start) -> list[Logger]:
    """TensorBoard's events and metrics.csv, from the step on where the run begins."""
    # Hides what an earlier attempt logged of steps that come again.
    purge_step = start.step if start.again else None
    tensorboard = TensorBoardLogger(
        runs_dir, name=name, version=start.version, default_hp_metric=False, purge_step=purge_step
    )
    return [tensorboard, ContinuedCSVLogger(runs_dir, name, start.version, start.step)]


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
        super().__init__(log_dir)

    def _check_log_dir_exists(self) -> None:
        """Where Lightning's deletes the table, keep the rows before `step`, without a line that a kill cut short."""
        self.path = Path(self.metrics_file_path)
        rows = [row for row in read_rows(self.path) if int(row["step"]) < self.step]
        self.metrics_keys = list(rows[0]) if rows else []
        if rows:  # in one rename: a process that is killed here must not take them along
            replace_file(self.path, table(self.metrics_keys, rows))
        else:
            self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Append what was logged; where that fails, it is kept for the next time."""
        if not self.metrics:
            return
        try:
            self._append(self._record_new_keys())
            self.metrics = []
        except OSError as error:
            log.warning(f"{self.path} cannot be written ({error.strerror}); its rows are kept for later")

    def _append(self, new_keys: set[str]) -> None:
        if new_keys or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, table(self.metrics_keys, [*read_rows(self.path), *self.metrics]))
            return
        whole = self.path.stat().st_size
        try:
            with self.path.open("ab") as file:
                file.write(table(self.metrics_keys, self.metrics, header=False))
        except OSError:
            with self.path.open("r+b") as file:
                file.truncate(whole)
            raise


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that are whole."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    rows = csv.DictReader(line for line in lines if line.endswith("\n"))
    return [row for row in rows if None not in row and None not in row.values() and row.get("step", "").isdigit()]


def table(columns: list[str], rows: list, header: bool = True) -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
