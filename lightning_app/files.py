"""Files that are complete or absent, and checks that a place is writable before anything slow starts."""

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
# Errors from file systems that cannot sync a folder, such as FUSE and CIFS.
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
# Temporary files to be renamed, and the files they replace, with the pid of the writer.
UNFINISHED = re.compile(r"\..+\.(\d+)\.(?:tmp|old)")


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk.

    Raises:
        OSError: they are not. If a folder's file system cannot sync it, there is nothing to wait for.
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
    """A path for writing a file that replaces another or none, and survives a power cut whole.

    Raises:
        OSError: it could not be written; the previous file is still there.
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
    """Replace a file, or create it; see `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left here.

    Not those of a live process. One with our own pid belongs to an earlier process, because we have not started.

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
    """Whether a process with this pid exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


def append(path: Path, content: bytes) -> None:
    """Append to a file, or create it.

    Raises:
        OSError: it could not be written; the file has its previous length.
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
    """Create a folder and its parents so that a power cut does not lose files synced inside."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync(each.parent)


def sync_files(folder: Path) -> None:
    """Wait until the files in a folder are on disk, except those in its subfolders."""
    for path in folder.iterdir():
        if path.is_file():
            sync(path)
    sync(folder)


@contextmanager
def output(option: str, path: Path, numbers: Container[int | None] | None = None) -> Iterator[None]:
    """The body writes to the path that an option names.

    Args:
        numbers: the errnos that mean this, if the body does other things too; None for all.

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
    """Create a folder, and a file in it that is removed again.

    Raises:
        OSError: it cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def try_file(path: Path) -> None:
    """Open an existing file, or create one beside it that is removed again; its folder has to exist.

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
