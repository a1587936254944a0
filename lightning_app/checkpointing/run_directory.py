"""Run folders: which one a fit resumes, or that it starts a new one.

`<runs_dir>/<name>/version_<n>/run.json` records which options a run was started with and whether it finished. If it did
not, the same command resumes it from its newest intact checkpoint, or else from the one that it started from.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_app.checkpointing.checkpoint_io import CheckpointError, read_checkpoint, step_files
from lightning_app.checkpointing.identity import RunIdentity, in_words
from lightning_app.checkpointing.named_checkpoint import CHECKPOINTS, named_checkpoint, versions
from lightning_app.checkpointing.resume_point import Check, NoneWholeError, ResumePoints, identity_in
from lightning_app.checkpointing.run_record import RECORD, RunRecord, read_record
from lightning_app.errors import UsageError
from lightning_app.files import make_folder, remove_leftovers, sync

log = logging.getLogger(__name__)

LOCK = ".lock"
LOCK_TIMEOUT_S = 10.0  # a killed process may take a moment to exit


@dataclass(frozen=True)
class Start:
    """Where a fit starts.

    Attributes:
        version: the run's folder is <runs_dir>/<name>/version_<version>.
        checkpoint: what it resumes from; None for a fresh start.
        step: optimizer steps before it.
        again: whether the folder belongs to an earlier attempt.
        finished: nothing is left to do: an earlier attempt of this SLURM job finished.
    """

    version: int
    checkpoint: str | None = None
    step: int = 0
    again: bool = False
    finished: bool = False

    def dumps(self) -> str:
        """As a line of text, for other processes."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Start:
        """From that line."""
        return cls(**json.loads(text))


class RunsFolder:
    """The versions of one name.

    Args:
        folder: <runs_dir>/<name>.
        identity: of the run that is about to start.
        check: raises if a checkpoint does not fit the model or the data.
        job: the SLURM job of this process, if any.
        restarted: whether that job was requeued.
    """

    def __init__(
        self, folder: Path, identity: RunIdentity, check: Check, job: str | None = None, restarted: bool = False
    ) -> None:
        self.folder, self.identity, self.points = folder, identity, ResumePoints(identity, check)
        self.job, self.returned = job, job if restarted else None
        self.lock: FileLock | None = None

    def version(self, number: int) -> Path:
        """The folder of a version."""
        return self.folder / f"version_{number}"

    def start(self, resume: str) -> Start:
        """Decide where to start, log it, and lock the folder.

        Args:
            resume: `auto`, `never`, or any value of named_checkpoint().

        Raises:
            UsageError: there is no such checkpoint, or none that can be used here and now; or the folder cannot be
                used.
        """
        try:
            return self._start(resume)
        except OSError as error:
            raise UsageError(
                f"cannot write runs to {self.folder} ({error.strerror or error}); set --runs_dir to a writable folder."
            ) from error

    def _start(self, resume: str) -> Start:
        # Whatever the option says: otherwise a requeued job would start again each time.
        own = self.unfinished(self.returned) if self.returned else []
        if self.returned and not own and (ended := self._recorded(finished=True, job=self.returned)):
            log.info(f"run: {self.version(ended[0])} finished in an earlier attempt of this job: nothing to do")
            return Start(ended[0], finished=True)
        for number in [*own, *(self.unfinished() if resume == "auto" else [])]:
            # Check again now that we hold the lock: the process that had it may just have finished.
            if self._hold(number) and number in self.unfinished() and (start := self._continue(number)):
                return start
            self.let_go()
        if resume == "auto":
            self._point_out_others()
        return self._begin(None if resume in ("auto", "never") else named_checkpoint(resume, self.folder, "last"))

    def _point_out_others(self) -> None:
        """Mention that the newest run of this name is unfinished but has other options: it may be a mistake."""
        for number in self.versions():
            record = self._record(number)
            if record is None or record.finished or record.abandoned or record.config == self.identity.digest:
                continue
            if theirs := whose(self.version(number)):
                log.info(
                    f"run: {self.version(number)} is unfinished, but has other options: "
                    f"{in_words(theirs.differences(self.identity))}. To resume it, give its options."
                )
            return

    def unfinished(self, job: str | None = None) -> list[int]:
        """Unfinished versions of this identity, and of a job; newest first."""
        return self._recorded(finished=False, job=job)

    def _recorded(self, finished: bool, job: str | None) -> list[int]:
        records = {number: self._record(number) for number in self.versions()}
        wanted = (self.identity.digest, finished, False)
        return [
            number
            for number, record in records.items()
            if record and (record.config, record.finished, record.abandoned) == wanted and job in (None, record.job)
        ]

    def _record(self, number: int) -> RunRecord | None:
        """The record of a version. If it is lost, its newest intact checkpoint says whose it is."""
        folder = self.version(number)
        record = read_record(folder)
        if record or not (found := whose(folder)):
            return record
        record = RunRecord(found.digest, finished=(folder / "model" / "model.json").exists())
        log.warning(f"resume: {folder / RECORD} is missing or damaged; rebuilt from a checkpoint beside it")
        record.write(folder)
        return record

    def versions(self) -> list[int]:
        """All existing versions, newest first."""
        return versions(self.folder)

    def _begin(self, checkpoint: Path | None) -> Start:
        """Start a new version, from a checkpoint or from scratch."""
        step = self.points.read(checkpoint, other_length=True)["global_step"] if checkpoint else 0
        number = max(self.versions(), default=-1) + 1
        make_folder(self.folder)
        while not made(self.version(number)):  # by another job, just now
            number += 1
        self._hold(number)
        # Resolved: best.ckpt may soon be another one.
        origin = str(checkpoint.resolve()) if checkpoint else None
        RunRecord(self.identity.digest, job=self.job, origin=origin, from_step=step).write(self.version(number))
        log.info(f"run: {self.version(number)}, from " + (f"step {step}: {checkpoint}" if checkpoint else "the start"))
        return Start(number, str(checkpoint) if checkpoint else None, step)

    def _continue(self, number: int) -> Start | None:
        """Resume in the folder of an earlier attempt; None if it is abandoned because nothing in it is intact.

        Raises:
            UsageError: its checkpoints cannot be used here and now, but some are not damaged.
        """
        folder = self.version(number)
        for place in (folder, folder / CHECKPOINTS):
            remove_leftovers(place)
        try:
            point = self.points.newest(folder)
        except NoneWholeError as error:
            # An attempt that started again there would wipe out the logs.
            log.warning(
                f"resume: no checkpoint in {folder} is intact, so this run starts again in a new folder: {error}"
            )
            RunRecord(self.identity.digest, abandoned=True).write(folder)
            return None
        if point is None:
            log.info(f"run: {folder}, from the start: an earlier attempt ended before its first checkpoint")
            return Start(number, again=True)
        log.info(f"run: {folder}, resuming from step {point.step} of an unfinished attempt")
        return Start(number, str(point.path), point.step, again=True)

    def _hold(self, number: int) -> bool:
        """Lock the version for this process; False if another one has it."""
        self.lock = FileLock(self.version(number) / LOCK)
        try:
            self.lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout:
            log.warning(f"resume: {self.version(number)} is being written by another process, so it is left alone")
            return False
        except (OSError, NotImplementedError) as error:
            log.warning(f"resume: {self.version(number)} cannot be locked ({error}); do not start this run twice")
        return True

    def let_go(self) -> None:
        """Release the version."""
        if self.lock:
            self.lock.release()
            self.lock = None

    def finish(self, number: int) -> None:
        """Record that a version finished."""
        RunRecord(self.identity.digest, finished=True, job=self.job).write(self.version(number))
        self.let_go()
        (self.version(number) / LOCK).unlink(missing_ok=True)


def whose(folder: Path) -> RunIdentity | None:
    """The identity in a folder's newest intact checkpoint; None if there is none."""
    for path in step_files(folder / CHECKPOINTS).values():
        try:
            return identity_in(read_checkpoint(path))
        except CheckpointError:
            continue
    return None


def made(folder: Path) -> bool:
    """Create a folder; False if it exists."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    sync(folder.parent)
    return True
