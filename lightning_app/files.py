"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path


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
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
