"""Which file `--ckpt_path` and `--resume` name: a path, a run's folder, or Lightning's words best and last."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lightning_app.checkpointing.checkpoint_io import BEST, CheckpointError, step_files

CHECKPOINTS = "checkpoints"
Which = Literal["best", "last"]


def named_checkpoint(named: str, runs: Path, of_folder: Which) -> Path:
    """The checkpoint that an option names; a path that is not a folder is returned unchanged.

    Args:
        named: `best` or `last` of the newest run that has one; or the folder of a run; or a checkpoint.
        runs: <runs_dir>/<name>, where to look for that run.
        of_folder: which checkpoint a folder stands for.

    Raises:
        CheckpointError: no run has such a checkpoint.
    """
    if named in FIND:
        return of_newest(runs, named)
    path = Path(named)
    if not path.is_dir():
        return path
    if checkpoint := FIND[of_folder](path):
        return checkpoint
    raise CheckpointError(f"{path} has no {of_folder} checkpoint in {CHECKPOINTS}/. {LACKS[of_folder]}")


def of_newest(runs: Path, which: str) -> Path:
    """The best or last checkpoint of the newest run that has one."""
    for number in versions(runs):
        if checkpoint := FIND[which](runs / f"version_{number}"):
            return checkpoint
    raise CheckpointError(
        f"no run in {runs} has a {which} checkpoint. {LACKS[which]} Give the run's --name and --runs_dir, or a path: "
        f"runs/<name>/<version>/{CHECKPOINTS}/{BEST}"
    )


def versions(runs: Path) -> list[int]:
    """The numbers of the runs of a name, newest first.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = [re.fullmatch(r"version_(\d+)", path.name) for path in listed(runs)]
    return sorted((int(match[1]) for match in found if match), reverse=True)


def listed(folder: Path) -> list[Path]:
    """The contents of a folder; empty if it does not exist.

    Raises:
        OSError: it cannot be listed. glob would report it as empty, and the run would start again.
    """
    return list(folder.iterdir()) if folder.exists() else []


def best_of(run: Path) -> Path | None:
    """The checkpoint of a run's best validation."""
    best = run / CHECKPOINTS / BEST
    return best if best.exists() else None


def last_of(run: Path) -> Path | None:
    """The newest checkpoint of a run."""
    return next(iter(step_files(run / CHECKPOINTS).values()), None)


FIND: dict[str, Callable[[Path], Path | None]] = {"best": best_of, "last": last_of}
LACKS = {
    "best": "A best checkpoint needs a validation; `last` needs none.",
    "last": "A fit writes one at its end.",
}
