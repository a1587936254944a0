"""What a command leaves where its user says: that nothing can be written there is told before anything slow."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_app.errors import UsageError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def output(option: str, path: Path, numbers: Container[int | None] | None = None) -> Iterator[None]:
    """What is inside writes to what an option names.

    Args:
        numbers: the errors that say so, where what is inside does other things too; None for all.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if numbers is not None and error.errno not in numbers:
            raise
        raise UsageError(f"{option} {path} cannot be written ({error.strerror or error}); choose another.") from error


def try_folder(folder: Path) -> None:
    """Make a folder, and a file in it that is gone again.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def try_file(path: Path) -> None:
    """Open a file that is there, or make one beside it that is gone again; its folder has to be there.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists():
        open(path, "ab").close()
    else:
        tempfile.TemporaryFile(dir=path.parent).close()
