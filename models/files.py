"""What has to be on the disk before anything is said of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# What file systems say that cannot sync a folder: FUSE's and CIFS, for example.
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)


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
