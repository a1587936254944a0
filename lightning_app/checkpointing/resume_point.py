"""Which checkpoint a run resumes from: the newest intact one that fits, or else the one that the run started from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_app.checkpointing.checkpoint_io import CheckpointError, DamagedError, read_checkpoint, step_files
from lightning_app.checkpointing.identity import RunIdentity, besides_length, in_words
from lightning_app.checkpointing.named_checkpoint import CHECKPOINTS
from lightning_app.checkpointing.run_record import read_record
from lightning_app.errors import UsageError

log = logging.getLogger(__name__)

# What a run needs to resume besides its weights; a weights-only checkpoint has none of it.
NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops")
SCHEDULE = "model.lr_scheduler"
# What schedules with an end of their own do after it.
BEYOND = {
    "CosineAnnealingLR": "continues from where it was; beyond its T_max the rate rises again",
    "PolynomialLR": "continues from where it was; beyond its total_iters the rate is 0",
}
Check = Callable[[dict[str, Any], Path], None]


class NoneWholeError(Exception):
    """No checkpoint of a run is intact, and none ever will be."""


@dataclass(frozen=True)
class ResumePoint:
    """A usable checkpoint, and the optimizer steps before it."""

    path: Path
    step: int


@dataclass(frozen=True)
class ResumePoints:
    """Finds the checkpoint from which a run resumes.

    Args:
        identity: of the run.
        check: raises a CheckpointError if a checkpoint does not fit the model or the data.
    """

    identity: RunIdentity
    check: Check

    def read(self, path: Path, other_length: bool = False) -> dict[str, Any]:
        """Read a checkpoint of this run.

        Args:
            other_length: whether it may come from a shorter or longer run with the same options.

        Raises:
            CheckpointError: as read_checkpoint(); or it has other options, or does not fit.
        """
        checkpoint = read_checkpoint(path)
        check_complete(checkpoint, path)
        theirs = identity_in(checkpoint)
        if theirs is None:
            raise CheckpointError(f"{path} was not written by a fit of this program.")
        check_boundary(checkpoint, path)
        differences = theirs.differences(self.identity)
        if other_length and differences and not besides_length(differences):
            check_schedule(checkpoint, path)
            log.info(f"resume: {in_words(differences)}; {beyond_its_end(self.identity)}")
        elif differences:
            raise CheckpointError(f"{path} is from a run with other options: {in_words(differences)}.")
        self.check(checkpoint, path)
        return checkpoint

    def newest(self, folder: Path) -> ResumePoint | None:
        """The newest usable checkpoint in a run's folder; None if there are none at all.

        Newer ones that cannot be used are renamed.

        Raises:
            UsageError: there are some, none can be used here and now, and some are not damaged.
            NoneWholeError: all of them are damaged.
        """
        refused: dict[Path, CheckpointError] = {}
        for step, path in candidates(folder):
            try:
                self.read(path)
            except CheckpointError as error:
                refused[path] = error
                continue
            for newer, why in refused.items():
                put_aside(newer, why)
            return ResumePoint(path, step)
        if refused:
            raise none_usable(folder, list(refused.values()))
        return None


def identity_in(checkpoint: dict[str, Any]) -> RunIdentity | None:
    """The identity of a checkpoint's run; None if this program did not write it."""
    options = checkpoint.get("run", {}).get("options")
    return RunIdentity.load(options) if isinstance(options, dict) else None


def check_complete(checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a CheckpointError for a weights-only checkpoint."""
    if missing := [part for part in NEEDED if part not in checkpoint]:
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}, so no run can resume from it. Resume from one of the run's "
            f"step-*.ckpt checkpoints, or start a run with these weights: --model.weights {path}"
        )


def check_boundary(checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a CheckpointError for one saved within a step: a resumed run would end with different bits."""
    if not checkpoint["run"].get("resumable", True):
        raise CheckpointError(
            f"{path} was saved within a step, by another callback or by a validation, so no run can resume from it "
            "exactly. Resume from one of the run's step-*.ckpt checkpoints; test, validate and predict accept this "
            "one."
        )


def check_schedule(checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a CheckpointError if a run cannot be made longer because its schedule spans the whole run."""
    options = checkpoint["run"]["options"]
    schedules, milestones = (
        options.get(f"{SCHEDULE}.init_args.{name}", "null") for name in ("schedules", "milestones")
    )
    shares = any(milestone < 1 for milestone in json.loads(milestones) or [])
    one_cycle = any("total_steps" in state for state in checkpoint["lr_schedulers"])
    if one_cycle or shares or '"auto"' in schedules:
        raise CheckpointError(
            f"{path} is from a run of another length, and its learning-rate schedule spans that length. A longer run "
            "needs a schedule without an end (model.lr_scheduler null, StepLR, CosineAnnealingWarmRestarts): start a "
            "new run with --resume never."
        )


def beyond_its_end(identity: RunIdentity) -> str:
    """What a run's schedule does if the run is made longer."""
    kind = json.loads(dict(identity.options).get(f"{SCHEDULE}.class_path", "null"))
    if kind is None:
        return "the learning rate stays as it is"
    name = kind.rpartition(".")[2]
    return f"{name} {BEYOND.get(name, 'continues from where it was')}"


def candidates(folder: Path) -> list[tuple[int, Path]]:
    """What a run can resume from, by step: its own checkpoints, newest first, then the one it started from.

    A checkpoint older than that one is not its own: the best one was copied along.
    """
    record = read_record(folder)
    origin, first = (record.origin, record.from_step) if record else (None, 0)
    own = [(step, path) for step, path in step_files(folder / CHECKPOINTS).items() if step >= first]
    return [*own, (first, Path(origin))] if origin else own


def put_aside(path: Path, why: CheckpointError) -> None:
    """Rename a checkpoint if a run resumes from an earlier one and will reach this step again.

    Undamaged ones too: used later, they would leave a gap in the logs.
    """
    aside = path.with_name(f"{path.name}.{'damaged' if isinstance(why, DamagedError) else 'unused'}-{time.time_ns()}")
    path.rename(aside)
    log.warning(f"resume: {why} It is renamed to {aside.name}; resuming from an earlier one.")


def none_usable(folder: Path, refused: list[CheckpointError]) -> Exception:
    """The error for a folder without a usable checkpoint."""
    for error in refused:
        if not isinstance(error, DamagedError):
            return UsageError(
                f"no checkpoint from which {folder} could resume can be used here: {error} Fix that (access, data, or "
                "the environment that it was written in), or start a new run with --resume never."
            )
    return NoneWholeError(str(refused[0]))
