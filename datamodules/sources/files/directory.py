"""Files below a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from datamodules.errors import DataError
from datamodules.sources.files.entry import SAMPLE_BYTES, SAMPLES, Entry, Load, checksum
from datamodules.sources.naming import is_hidden, is_image

CIRCLE = "a link to a folder around it"
Identity = tuple[int, int]  # device and inode


class Directory:
    """Follows links to files and folders, except in a circle; hidden folders are listed and not entered.

    Uses os.scandir: Path.rglob follows no links to folders, and is ten times slower on 200,000 files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self) -> list[Entry]:
        found: list[Entry] = []
        self._walk("", (), found)
        return sorted(found)

    def _walk(self, folder: str, above: tuple[Identity, ...], found: list[Entry]) -> None:
        """Append a folder and its contents."""
        place = self.root / folder
        try:
            status = os.stat(place)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                found.append(Entry(folder, problem=CIRCLE))
                return
            with os.scandir(place) as scan:
                children = list(scan)
        except OSError as error:
            if not folder:
                raise DataError(f"{self.root} cannot be listed ({error.strerror}); fix its permissions.") from error
            found.append(Entry(folder, problem=error.strerror or str(error)))
            return
        if folder:
            found.append(Entry(folder))
        for child in children:
            name = folder + child.name
            if not child.is_dir():
                found.append(entry_of(child, name))
            elif is_hidden(child.name):
                found.append(Entry(f"{name}/"))
            else:
                self._walk(f"{name}/", (*above, identity), found)

    def loads(self, names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        return ((name, (self.root / name).read_bytes) for name in names)

    def fingerprint(self, images: Callable[[], list[Entry]]) -> dict[str, object]:
        """Names, sizes and modification times of all images, and the first bytes of some.

        Copying a directory, or unpacking it again, may preserve all of the former whatever the pixels.
        """
        found = images()
        sampled = [each.name for each in found[:: max(len(found) // SAMPLES, 1)] if not each.problem]
        facts = ("\0".join(map(str, each)).encode("utf-8", "surrogateescape") + b"\n" for each in found)
        return {"images": checksum(facts), "sample": checksum(map(partial(first_bytes, self.root), sampled))}


def entry_of(child: os.DirEntry[str], name: str) -> Entry:
    """A file; only images are asked for their size and time."""
    if not is_image(name):
        return Entry(name)
    try:
        found = child.stat()
    except OSError as error:
        return Entry(name, problem=error.strerror or str(error))
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait forever
        return Entry(name, problem="not a regular file")
    return Entry(name, found.st_size, found.st_mtime_ns)


def first_bytes(root: Path, name: str) -> bytes:
    """The first bytes of a file that may be gone by now."""
    try:
        with open(root / name, "rb") as file:
            return file.read(SAMPLE_BYTES)
    except OSError:
        return b""
