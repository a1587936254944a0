"""A run's checkpoints during training: the best waits in memory, others are written, old ones are removed."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning.pytorch as pl

from lightning_app.checkpointing.checkpoint_io import (
    IN_MEMORY,
    OURS,
    VALIDATED,
    ChecksummedIO,
    keep_newest,
    step_file,
    step_files,
)
from lightning_app.checkpointing.run_record import RECORD, RunRecord
from lightning_app.checkpointing.schedule import SavingClock, SavingOptions
from lightning_app.files import make_folder, replace_file, sync_files

log = logging.getLogger(__name__)


class Checkpoints:
    """Makes Lightning create checkpoints, on all ranks together; rank 0 writes them.

    Args:
        io: the one that Lightning passes them to.
        options: when to write, and how many to keep.
        folder: where they are kept, below the run's folder.
        record: of the run, to be written again if its folder disappears.

    Attributes:
        clock: says when a checkpoint is due.
        resumable: the checkpoint being created right now is one that a run can resume from.
    """

    def __init__(self, io: ChecksummedIO, options: SavingOptions, folder: Path, record: RunRecord) -> None:
        self.io, self.options, self.folder, self.record = io, options, folder, record
        self.clock = SavingClock(options, 0)
        self.resumable = False

    @property
    def newest(self) -> str:
        """The newest written checkpoint, for people."""
        return str(next(iter(step_files(self.folder).values()), "none"))

    def start(self, step: int) -> None:
        """Training starts, after this many steps."""
        self.clock = SavingClock(self.options, step)

    def take_over(self, name: str, folder: Path) -> None:
        """Copy the best checkpoint here, if a run continues from one in another run's folder."""
        theirs, ours = folder / name, self.folder / name
        if theirs.exists() and not ours.exists():
            make_folder(self.folder)
            replace_file(ours, theirs.read_bytes())

    def keep_best(self, trainer: pl.Trainer, name: str) -> None:
        """Keep a checkpoint in memory, to be written under that name just before the next one."""
        began = self.clock.now()
        self._make(trainer, self.folder / name, IN_MEMORY)
        self.clock.kept_in_memory(began)

    def write(self, trainer: pl.Trainer, best: str | None) -> None:
        """Write a checkpoint, then remove older ones except the best, given by its file name."""
        began = self.clock.now()
        self._save_logs(trainer)
        path = step_file(self.folder, trainer.global_step)
        self._make(trainer, path)
        if trainer.is_global_zero:
            self._tidy(path, best)
        note = self.clock.failed if self.io.error else self.clock.wrote
        note(trainer.global_step, began)

    def write_best(self, trainer: pl.Trainer) -> None:
        """Write it before this process fails, while it can: otherwise the steps would have to be repeated."""
        if trainer.is_global_zero and self.io.best:
            self._save_logs(trainer)
            self.io.write_best()

    def _save_logs(self, trainer: pl.Trainer) -> None:
        """Sync what was logged before this step to disk, because it will not be logged again.

        A failure here is no reason to lose the checkpoint too.
        """
        run = self.folder.parent
        syncs = [lambda: sync_files(run)] if trainer.is_global_zero else []
        for save in (*(logger.save for logger in trainer.loggers), *syncs):
            try:
                save()
            except OSError as error:
                log.warning(
                    f"the logs could not be saved ({error.strerror or error}); the checkpoint is written anyway"
                )

    def _make(self, trainer: pl.Trainer, path: Path, where: str = OURS) -> None:
        self.resumable = not path.name.startswith(VALIDATED)
        trainer.save_checkpoint(path, weights_only=False, storage_options=where)
        self.resumable = False

    def _tidy(self, path: Path, best: str | None) -> None:
        """Report what could not be written, or remove what is too old."""
        error = self.io.error
        try:
            if error is None:
                keep_newest(self.folder, self.options.keep, best)
                self._restore_record()
                return
        except OSError as tidying:
            error = tidying
        log.warning(
            f"checkpoint: {path} could not be written ({error.strerror or error}); the newest is {self.newest}. "
            "Training continues and will try again."
        )

    def _restore_record(self) -> None:
        """If someone has removed the run's folder, make the new one resumable."""
        run = self.folder.parent
        if not (run / RECORD).exists():
            log.warning(f"checkpoint: {run} had disappeared and was created again; earlier logs are lost")
            self.record.write(run)
