"""One way to list and read files, whether they lie in a directory, a .zip or a .tar(.gz)."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from datamodules.errors import DataError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Files(Protocol):
    """A read-only tree of files, named by their path with forward slashes."""

    def names(self) -> list[str]:
        """All files, in the order in which `read` gives them fastest."""

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files with their bytes, in any order."""

    def fingerprint(self) -> dict[str, object]:
        """Facts that change when a file is added, removed or changed."""


def open_files(root: Path) -> Files:
    """Open a directory or an archive.

    Raises:
        DataError: nothing is there, or it is neither a directory nor an archive we read.
    """
    if root.is_dir():
        return Directory(root)
    if not root.exists():
        raise DataError(f"no data at {root}: expected a directory or a .zip/.tar(.gz) archive; set data.root to it.")
    if root.suffix.lower() == ".zip":
        return ZipArchive(root)
    if root.name.lower().endswith(TAR_SUFFIXES):
        return TarArchive(root)
    raise DataError(f"{root} is neither a directory nor an archive ending in .zip or {', '.join(TAR_SUFFIXES)}.")


class Directory:
    """Files below a directory; links to files are followed, hidden ones left out."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in wanted:
            yield name, (self.root / name).read_bytes()

    def fingerprint(self) -> dict[str, object]:
        stats = [(name, (self.root / name).stat()) for name in self.names()]
        return {"directory": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]}


class ZipArchive:
    """Files in a .zip."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        with self._open() as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for name in wanted:
                try:
                    yield name, archive.read(name)
                except (zipfile.BadZipFile, EOFError, OSError) as error:
                    raise damaged(self.path, error) from error

    def fingerprint(self) -> dict[str, object]:
        return archive_fingerprint(self.path)

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, EOFError) as error:
            raise damaged(self.path, error) from error


class TarArchive:
    """Files in a .tar, .tar.gz, .tar.bz2 or .tar.xz, read front to back: seeking in a .tar.gz starts over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return [name for name, _ in self._walk(contents=False)]

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        pick = set(wanted)
        return ((name, data) for name, data in self._walk(contents=True, pick=pick))

    def fingerprint(self) -> dict[str, object]:
        return archive_fingerprint(self.path)

    def _walk(self, contents: bool, pick: set[str] | None = None) -> Iterator[tuple[str, bytes]]:
        try:
            with tarfile.open(self.path, "r|*") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if member.isfile() and (pick is None or name in pick):
                        stream = archive.extractfile(member) if contents else None
                        yield name, stream.read() if stream else b""
        except (tarfile.TarError, EOFError, OSError) as error:
            raise damaged(self.path, error) from error


def archive_fingerprint(path: Path) -> dict[str, object]:
    """Name, size and time of change; reading a large archive to hash it would cost more than packing it."""
    stat = path.stat()
    return {"archive": path.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def damaged(path: Path, error: Exception) -> DataError:
    """The error for an archive that cannot be read to its end."""
    return DataError(f"{path} is damaged or not complete ({error}); fetch or make it again.")
