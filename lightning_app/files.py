"""Files that are complete or absent, and whether a place can be written before anything slow begins."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_app.errors import UsageError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# What file systems say that cannot sync a folder: FUSE's and CIFS, for example.
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
# What is put in place by renaming, and what it takes the place of, with the process that does so.
UNFINISHED = re.compile(r"\..+\.(\d+)\.(?:tmp|old)")


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: they are not. Of a folder on a file system that cannot do so, there is nothing to wait for.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of another, or of none, and survives a power cut whole.

    Raises:
        OSError: it could not be written; the file that was there still is.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, *parts: bytes | memoryview) -> None:
    """Put a file in place of another, or of none; see `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def remove_leftovers(folder: Path) -> None:
    """Remove the files and folders that killed processes were about to put in place here.

    Not those of a process that is alive. One that bears our own number is of an earlier process: we have not begun.

    Raises:
        OSError: the folder cannot be listed, or something in it cannot be removed.
    """
    for path in folder.iterdir() if folder.exists() else ():
        name = UNFINISHED.fullmatch(path.name)
        if name is None or (int(name[1]) != os.getpid() and is_alive(int(name[1]))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, or begin it.

    Raises:
        OSError: it could not be written; the file is as long as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    length = path.stat().st_size if path.exists() else 0
    try:
        with open(path, "ab") as file:
            file.write(content)
    except OSError:
        with suppress(OSError):  # the first error says more
            os.truncate(path, length)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut takes none of them from what is synced inside."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync(each.parent)


def sync_files(folder: Path) -> None:
    """Wait until the files in a folder are on the disk, those in folders within it aside."""
    for path in folder.iterdir():
        if path.is_file():
            sync(path)
    sync(folder)


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


def cache_folder(kind: str) -> Path:
    """Where this user's files are kept that can be made again: $XDG_CACHE_HOME or ~/.cache, ours, by kind."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "laptop-to-cluster" / kind
