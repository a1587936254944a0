"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from models.files import sync


def replace_file(path: Path, *parts: bytes | memoryview) -> None:
    """Put a file in place of another, or of none, so that it survives a power cut whole.

    Raises:
        OSError: it could not be written; the file that was there still is.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
