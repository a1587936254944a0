"""One way to list and read files, whether they lie in a directory, a .zip or a .tar(.gz)."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from datamodules.errors import DataError

ZIP_SUFFIX = ".zip"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
T = TypeVar("T")
# RuntimeError: encrypted, or a compression that zipfile does not know.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class Files(Protocol):
    """A read-only tree of files, named by their path with forward slashes."""

    def names(self) -> list[str]:
        """All files, in the order in which `read` gives them fastest, and folders, ending in a slash."""

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files with their bytes, in any order."""

    def fingerprint(self) -> dict[str, object]:
        """Facts that change when a file is added, removed or changed."""


def names_an_archive(root: Path) -> bool:
    """Whether a path, of a file that may not be there, is that of an archive."""
    return root.name.lower().endswith((ZIP_SUFFIX, *TAR_SUFFIXES))


def open_files(root: Path) -> Files:
    """Open a directory or an archive.

    Raises:
        DataError: nothing is there, or it is neither a directory nor an archive we read.
    """
    if root.is_dir():
        return Directory(root)
    if not root.exists():
        raise DataError(f"no data at {root}: expected a directory or a .zip/.tar(.gz) archive; set data.root to it.")
    if root.name.lower().endswith(ZIP_SUFFIX):
        return ZipArchive(root)
    if root.name.lower().endswith(TAR_SUFFIXES):
        return TarArchive(root)
    raise DataError(f"{root} is neither a directory nor an archive ending in .zip or {', '.join(TAR_SUFFIXES)}.")


class Directory:
    """Files below a directory; links to files are followed, hidden ones left out."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        paths = ((path.relative_to(self.root), path.is_dir()) for path in self.root.rglob("*"))
        seen = ((path, folder) for path, folder in paths if not any(part.startswith(".") for part in path.parts))
        return sorted(path.as_posix() + "/" * folder for path, folder in seen)

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in wanted:
            yield name, self._access(name, Path.read_bytes)

    def fingerprint(self) -> dict[str, object]:
        names = self.names()
        stats = [(name, self._access(name, Path.stat)) for name in names if not name.endswith("/")]
        return {
            "directory": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats],
            "folders": [name for name in names if name.endswith("/")],
        }

    def _access(self, name: str, ask: Callable[[Path], T]) -> T:
        try:
            return ask(self.root / name)
        except OSError as error:
            raise DataError(f"cannot read {self.root / name} ({error.strerror}).") from error


class ZipArchive:
    """Files in a .zip."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        with self._open() as archive:
            return archive.namelist()

    def read(self, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for name in wanted:
                try:
                    yield name, archive.read(name)
                except ZIP_ERRORS as error:
                    raise damaged(self.path, error) from error

    def fingerprint(self) -> dict[str, object]:
        return archive_fingerprint(self.path)

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except ZIP_ERRORS as error:
            raise damaged(self.path, error) from error


class StrictTarInfo(tarfile.TarInfo):
    """Takes a broken or missing header for damage; tarfile takes it for the end, and the rest would be missing."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictTarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the mark of the end
                raise
            raise tarfile.ReadError(str(error)) from error


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
            with tarfile.open(self.path, "r|*", tarinfo=StrictTarInfo) as archive:
                for member in archive:
                    name = member.name.removeprefix("./") + "/" * member.isdir()
                    if pick is None or name in pick:
                        # A link has no bytes of its own: the packer will list it as unreadable.
                        stream = archive.extractfile(member) if contents and member.isfile() else None
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
