"""The folders of runs: which one a fit goes on in, or that it begins a new one.

`<runs_dir>/<name>/version_<n>/run.json` says which options a run was started with and whether it came to its end. A
run that did not is continued by the same command from its newest checkpoint that is whole, or else from the one that
it was begun from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_app.checkpointing.checkpoint_io import CheckpointError, DamagedError, read_checkpoint, step_files
from lightning_app.errors import UsageError
from lightning_app.files import make_folder, replace_file, sync

log = logging.getLogger(__name__)

RECORD, LOCK, CHECKPOINTS = "run.json", ".lock", "checkpoints"
# Options that do not change what is learnt: where runs and caches are kept, on what machine, what is shown, how often
# it is saved. `on_nan` too, so that a run which NaN stopped can be continued with the other answer.
NOT_IDENTITY = (
    "config",
    "name",
    "runs_dir",
    "resume",
    "checkpoint",
    "on_nan",
    "data.cache_dir",
    "trainer.accelerator",
    "trainer.benchmark",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.logger",
    "trainer.num_nodes",
    "trainer.plugins",
    "trainer.profiler",
    "trainer.strategy",
)
LOCK_TIMEOUT_S = 10.0  # a killed process may take a moment to be gone
SHOWN = 5  # options to name in an error
Options = dict[str, Any]
Check = Callable[[dict[str, Any], Path], None]


@dataclass(frozen=True)
class Start:
    """Where a fit begins.

    Attributes:
        version: the run's folder is <runs_dir>/<name>/version_<version>.
        checkpoint: what it goes on from; None is the beginning.
        step: optimizer steps that are behind it.
        again: whether the folder is an earlier attempt's.
        finished: there is nothing left to do: an earlier attempt of this SLURM job came to its end.
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
        """From such a line."""
        return cls(**json.loads(text))


def identity(config: Mapping[str, Any]) -> Options:
    """The options that make a run what it is, by their full names."""
    return {
        name: value
        for name, value in flatten(config)
        if not any(name == other or name.startswith(f"{other}.") for other in NOT_IDENTITY)
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options as pairs of dotted name and value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def config_hash(options: Options) -> str:
    """A short name for a set of options."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


class RunsFolder:
    """The versions of one name.

    Args:
        folder: <runs_dir>/<name>.
        options: identity() of the run that is to begin.
        check: raises where a checkpoint does not fit the model or the data.
        job: the SLURM job that this process is in, if any.
        restarted: whether that job has come back from the queue.
    """

    def __init__(
        self, folder: Path, options: Options, check: Check, job: str | None = None, restarted: bool = False
    ) -> None:
        self.folder, self.options, self.check = folder, options, check
        self.job, self.returned = job, job if restarted else None
        self.lock: FileLock | None = None

    def version(self, number: int) -> Path:
        """The folder of a version."""
        return self.folder / f"version_{number}"

    def start(self, resume: str) -> Start:
        """Decide where to begin, say so, and take hold of the folder.

        Args:
            resume: `auto`, `never`, or the path of a checkpoint.

        Raises:
            UsageError: no such checkpoint, or none that can be used here and now; or the folder cannot be used.
        """
        try:
            return self._start(resume)
        except OSError as error:
            raise UsageError(
                f"cannot keep runs in {self.folder} ({error.strerror or error}); set --runs_dir to a place for runs."
            ) from error

    def _start(self, resume: str) -> Start:
        # Whatever it was told: else a job that comes back would begin anew each time.
        own = self.unfinished(self.returned) if self.returned else []
        if self.returned and not own and (ended := self._recorded(finished=True, job=self.returned)):
            log.info(f"run: {self.version(ended[0])} came to its end in an earlier attempt of this job: nothing to do")
            return Start(ended[0], finished=True)
        for number in [*own, *(self.unfinished() if resume == "auto" else [])]:
            # Asked again once it is ours: the process that had it may just have finished.
            if self._hold(number) and number in self.unfinished() and (start := self._continue(number)):
                return start
            self.let_go()
        return self._begin(Path(resume) if resume not in ("auto", "never") else None)

    def unfinished(self, job: str | None = None) -> list[int]:
        """Versions of these options, and of a job, that did not come to their end; newest first."""
        return self._recorded(finished=False, job=job)

    def _recorded(self, finished: bool, job: str | None) -> list[int]:
        wanted: dict[str, Any] = {"config": config_hash(self.options), "finished": finished, "abandoned": False}
        if job:
            wanted["job"] = job
        records = {number: {"abandoned": False} | read_record(self.version(number)) for number in self.versions()}
        return [number for number, record in records.items() if wanted.items() <= record.items()]

    def versions(self) -> list[int]:
        """All that are there, newest first."""
        found = [re.fullmatch(r"version_(\d+)", path.name) for path in listed(self.folder)]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def _begin(self, checkpoint: Path | None) -> Start:
        """Begin a version of its own, from a checkpoint or from nothing."""
        step = self.usable(checkpoint)["global_step"] if checkpoint else 0
        number = max(self.versions(), default=-1) + 1
        make_folder(self.folder)
        while not made(self.version(number)):  # by another job, just now
            number += 1
        self._hold(number)
        # Resolved: best.ckpt may soon be another one.
        origin = {"from": str(checkpoint.resolve()), "from_step": step} if checkpoint else {}
        write_record(self.version(number), self.options, finished=False, job=self.job, **origin)
        log.info(f"run: {self.version(number)}, from " + (f"step {step}: {checkpoint}" if checkpoint else "the start"))
        return Start(number, str(checkpoint) if checkpoint else None, step)

    def _continue(self, number: int) -> Start | None:
        """Go on in the folder of an earlier attempt; None where it is given up, since nothing in it is whole.

        Raises:
            UsageError: what it has cannot be used here and now, but some of it is not damaged.
        """
        folder = self.version(number)
        for path in listed(folder / CHECKPOINTS):
            if path.match(".*.tmp"):  # left by a killed save
                path.unlink()
        refused: dict[Path, CheckpointError] = {}
        for step, path in candidates(folder):
            try:
                self.usable(path)
            except CheckpointError as error:
                refused[path] = error
                continue
            for newer, why in refused.items():
                put_aside(newer, why)
            log.info(f"run: {folder}, going on from step {step} of an attempt that did not come to its end")
            return Start(number, str(path), step, again=True)
        if refused:
            self._give_up(folder, list(refused.values()))
            return None
        log.info(f"run: {folder}, from the start: an earlier attempt ended before its first checkpoint")
        return Start(number, again=True)

    def _give_up(self, folder: Path, refused: list[CheckpointError]) -> None:
        """Never go on in a folder again: an attempt that began there anew would wipe out what it logged."""
        for error in refused:
            if not isinstance(error, DamagedError):
                raise UsageError(
                    f"no checkpoint that {folder} could go on from can be used here and now: {error} Mend that "
                    "(access, data, or the environment that it was written in), or begin anew with --resume never."
                ) from error
        log.warning(
            f"resume: no checkpoint in {folder} is whole, so this run begins anew in another folder: {refused[0]}"
        )
        write_record(folder, self.options, finished=False, abandoned=True)

    def usable(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint that belongs to a run of these options.

        Raises:
            CheckpointError: as read_checkpoint(), or it is of other options or another model.
        """
        checkpoint = read_checkpoint(path)
        theirs = json.loads(checkpoint.get("run", {}).get("options", "null"))
        if theirs is None:
            raise CheckpointError(f"{path} was not made by a fit of this program.")
        if theirs != json.loads(json.dumps(self.options)):
            raise CheckpointError(f"{path} is of a run with other options: {differences(theirs, self.options)}.")
        self.check(checkpoint, path)
        return checkpoint

    def _hold(self, number: int) -> bool:
        """Take the version for this process; False where another one has it."""
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
        """Leave the version to other processes."""
        if self.lock:
            self.lock.release()
            self.lock = None

    def finish(self, number: int) -> None:
        """Note that a version came to its end."""
        write_record(self.version(number), self.options, finished=True, job=self.job)
        self.let_go()
        (self.version(number) / LOCK).unlink(missing_ok=True)


def made(folder: Path) -> bool:
    """Make a folder; False where it exists."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    sync(folder.parent)
    return True


def listed(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it is not there.

    Raises:
        OSError: it cannot be listed. For glob it would be empty, and the run would begin anew.
    """
    return list(folder.iterdir()) if folder.exists() else []


def candidates(folder: Path) -> list[tuple[int, Path]]:
    """What a run can go on from, by step: its own checkpoints, newest first, and at last the one it was begun from.

    One that is older than that is not its own: the best one was copied with it.
    """
    record = read_record(folder)
    origin, first = record.get("from"), record.get("from_step", 0)
    own = [(step, path) for step, path in step_files(folder / CHECKPOINTS).items() if step >= first]
    return [*own, (first, Path(origin))] if origin else own


def put_aside(path: Path, why: CheckpointError) -> None:
    """Give a checkpoint another name, where a run goes on from an earlier one and so will come to this step again.

    What is not damaged too: used later on, it would leave a gap in what was logged.
    """
    aside = path.with_name(f"{path.name}.{'damaged' if isinstance(why, DamagedError) else 'unused'}-{time.time_ns()}")
    path.rename(aside)
    log.warning(f"resume: {why} It is put aside as {aside.name}; going on from one before.")


def differences(theirs: Options, ours: Options) -> str:
    """The options in which two runs differ."""
    names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    shown = [f"{name} is {theirs.get(name)} there and {ours.get(name)} here" for name in names[:SHOWN]]
    return "; ".join([*shown, *([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])])


def read_record(folder: Path) -> dict[str, Any]:
    """What run.json says; nothing where it is missing or broken."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(folder: Path, options: Options, finished: bool, job: str | None = None, **more: Any) -> None:
    """Write run.json."""
    record = {"config": config_hash(options), "finished": finished, "job": job, **more}
    replace_file(folder / RECORD, json.dumps(record).encode())
