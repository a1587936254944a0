"""The checkpoint file: complete or absent, and verified by a checksum.

A checkpoint is torch.save's output, followed by 8 bytes that name the format and the SHA-256 of everything before them.
torch.load reads such a file unchanged, because a zip archive may have trailing data. We use one file because the next
`cp` would forget a separate checksum, and the two could not be renamed together.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_app.errors import UsageError
from lightning_app.files import make_folder, replace_file

log = logging.getLogger(__name__)

FORMAT = b"L2C-CKP1"
TRAILER_BYTES = len(FORMAT) + hashlib.sha256().digest_size
BEST = "best.ckpt"
IN_MEMORY = "in memory"  # how the best checkpoint is saved at first
OURS = "ours"  # how the others are saved; a user's callback does not set this
STEP_FILE = re.compile(r"step-(\d+)\.ckpt$")
VALIDATED = "validated-"  # name prefix of checkpoints from which no run resumes


class CheckpointError(UsageError):
    """A checkpoint cannot be used here and now; the message says why."""


class DamagedError(CheckpointError):
    """The file is not what was written, and never will be."""


def step_file(folder: Path, step: int) -> Path:
    """The path of the checkpoint after `step` optimizer steps."""
    return folder / f"step-{step:08d}.ckpt"


def best_file(step: int, within_a_step: bool) -> str:
    """The file name for the weights that a validation measured.

    The step's name; but in the middle of accumulation, a name from which no run resumes, because the gradients are not
    in the file.
    """
    return f"{VALIDATED}{step:08d}.ckpt" if within_a_step else f"step-{step:08d}.ckpt"


def step_files(folder: Path) -> dict[int, Path]:
    """Files with a checkpoint's name, by step, newest first."""
    found = [(STEP_FILE.match(path.name), path) for path in folder.glob("step-*.ckpt")]
    return dict(sorted(((int(match[1]), path) for match, path in found if match), reverse=True))


def keep_newest(folder: Path, keep: int, best: str | None) -> None:
    """Point best.ckpt to the best checkpoint, if there is one, and remove all others except the newest.

    In this order, so that the link never names a missing file.
    """
    if best and (folder / best).exists():
        link = folder / f".{BEST}.{os.getpid()}.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(best)
        link.replace(folder / BEST)
    old = list(step_files(folder).values())[keep:]
    for path in [*old, *folder.glob(f"{VALIDATED}*.ckpt")]:
        if path.name != best:
            path.unlink()


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint. A kill or a full disk at any moment leaves the file as it was before, or absent.

    Raises:
        OSError: it could not be written; no part of it remains.
    """
    # In memory first: if a file fails halfway, torch raises more than OSError.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    make_folder(path.parent)
    with content.getbuffer() as bytes_:
        replace_file(path, bytes_, FORMAT, hashlib.sha256(bytes_).digest())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint whose checksum is right; never unpickle any other file.

    Raises:
        DamagedError: a directory, truncated, or with another checksum.
        CheckpointError: missing, unreadable, from another version, or from another step.
    """
    body = read_body(path)
    try:
        checkpoint = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} comes from another program or version, or contains objects ({reason})."
        ) from error
    if (named := STEP_FILE.match(path.name)) and int(named[1]) != checkpoint["global_step"]:
        raise CheckpointError(f"{path} is from step {checkpoint['global_step']}; was it renamed?")
    return checkpoint


def read_body(path: Path) -> memoryview:
    """What torch.save wrote, if its checksum is right."""
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise DamagedError(f"{path} is a directory.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from error
    body, trailer = memoryview(content)[:-TRAILER_BYTES], content[-TRAILER_BYTES:]
    if len(trailer) < TRAILER_BYTES or not trailer.startswith(FORMAT):
        raise DamagedError(f"{path} is truncated, or not a checkpoint of this program: its checksum is missing.")
    if hashlib.sha256(body).digest() != trailer[len(FORMAT) :]:
        raise DamagedError(f"{path} is damaged: its content does not match its checksum.")
    return body


def copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy of a checkpoint in CPU memory, which training no longer changes."""
    return apply_to_collection(checkpoint, torch.Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))


class ChecksummedIO(CheckpointIO):
    """Makes Lightning write and read its checkpoints this way.

    The best checkpoint so far waits in memory until the next one is written, because a copy takes a tenth of the time
    and most are soon beaten. Nothing is lost: a killed run resumes from before that validation and finds the best
    again. It is written before the next one, so no file names a best checkpoint that does not exist.

    Attributes:
        error: why the last checkpoint could not be written; None if it was.
        best: where the best checkpoint will be written, and the checkpoint; None once it has been written.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.best: tuple[Path, dict[str, Any]] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write, or keep IN_MEMORY. Failures go to `error`: raised on rank 0 only, they would leave others waiting.

        Args:
            storage_options: IN_MEMORY keeps this one as the best, replacing an earlier best that still waits. OURS
                leaves it to the caller to report failures.
        """
        if storage_options == IN_MEMORY:
            self.best = Path(path), copied(checkpoint)
            return
        self._write(checkpoint, Path(path))
        if self.error and storage_options != OURS:
            log.warning(f"checkpoint: {path} could not be written ({self.error.strerror or self.error}).")

    def write_best(self) -> None:
        """Write the checkpoint that still waits in memory."""
        if self.best:
            self._write(self.best[1], self.best[0])

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        try:
            if self.best and self.best[0] != path:
                write_checkpoint(self.best[1], self.best[0])
            write_checkpoint(checkpoint, path)
            self.error = self.best = None
        except OSError as error:
            self.error = error

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
