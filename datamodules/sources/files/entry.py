"""What directories and archives have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from datamodules.errors import DataError

Load = Callable[[], bytes]
SAMPLES = 16  # blocks of an archive, or files of a directory, that are sampled for its fingerprint
SAMPLE_BYTES = 4096


class Entry(NamedTuple):
    """A file or a folder.

    Attributes:
        name: its path with forward slashes; a folder's ends in one.
        size: bytes of an image; 0 for other files.
        stamp: modification time of an image, in nanoseconds; 0 in an archive, which is fingerprinted as a whole.
        problem: why it cannot be read or listed; empty if it can.
    """

    name: str
    size: int = 0
    stamp: int = 0
    problem: str = ""


class Files(Protocol):
    """A read-only tree of files."""

    def entries(self) -> list[Entry]:
        """Files and folders as they are now, each name once: a directory's by name, an archive's in its own order.

        Raises:
            DataError: it cannot be listed.
        """

    def loads(self, names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        """Functions that return the bytes of the files, in the order in which reading is fastest.

        They may be called in any thread, and raise an error that says why a file cannot be read.

        Raises:
            DataError: the rest cannot be read.
        """

    def fingerprint(self, images: Callable[[], list[Entry]]) -> dict[str, object]:
        """JSON-able facts that change when an image is added, removed or changed."""


def archive_fingerprint(path: Path) -> dict[str, object]:
    """Name, size, modification time and a sample of the bytes; hashing all of them would cost more than packing."""
    stat = path.stat()
    places = range(0, stat.st_size, max(stat.st_size // SAMPLES, 1)) if stat.st_size else ()
    with open(path, "rb") as file:
        sample = [read_at(file, place) for place in places]
    return {"archive": path.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sample": checksum(sample)}


def read_at(file, place: int) -> bytes:
    """A few bytes of an open file."""
    file.seek(place)
    return file.read(SAMPLE_BYTES)


def checksum(blocks: Iterable[bytes]) -> str:
    """A short name for bytes."""
    import hashlib

    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()[:16]


def damaged(path: Path, error: Exception) -> DataError:
    """The error for an archive that cannot be read to its end."""
    return DataError(f"{path} is damaged or incomplete ({error}); download or create it again.")
