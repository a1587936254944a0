"""Files that have their name when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datamodules.errors import DataError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place at the end; one of before stays until then, or if that fails.

    Raises:
        DataError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); choose another --to.") from error
    finally:
        temporary.unlink(missing_ok=True)
