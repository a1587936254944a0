"""Files in a .tar, compressed or not."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from datamodules.errors import DataError
from datamodules.sources.files.entry import Entry, Load, archive_fingerprint, damaged
from datamodules.sources.naming import is_image

ZSTD_SUFFIXES = (".tar.zst", ".tzst")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", *ZSTD_SUFFIXES)


class StrictTarInfo(tarfile.TarInfo):
    """Treats a broken or missing header as damage; tarfile treats it as the end, and the rest would be missing."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictTarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the end mark
                raise
            raise tarfile.ReadError(str(error)) from error


class TarArchive:
    """Read front to back: seeking in a compressed .tar starts over.

    Links are read as the files that they lead to, if those are in the archive. If several members have one name, the
    last counts, as when the archive is unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._links: dict[str, str] = {}
        self._positions: dict[str, int] = {}

    def entries(self) -> list[Entry]:
        self._links, self._positions = {}, {}
        sizes: dict[str, int] = {}
        for position, (name, member, _) in enumerate(self._walk()):
            sizes[name], self._positions[name] = member.size, position
            self._links.pop(name, None)
            if member.islnk() or member.issym():
                self._links[name] = target_of(name, member)
        return [Entry(name, size, problem=self._problem(name)) for name, size in sizes.items() if name]

    def _problem(self, name: str) -> str:
        gone = name in self._links and self._source(name) not in self._positions
        return f"a link to {self._links[name]}, which is not in the archive" if gone and is_image(name) else ""

    def _source(self, name: str) -> str:
        """The member that holds the bytes of a name, through any number of links."""
        seen = {name}
        while name in self._links and self._links[name] not in seen:
            name = self._links[name]
            seen.add(name)
        return name

    def loads(self, names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        if not self._positions:
            self.entries()
        wanted: dict[int, list[str]] = {}
        for name in names:
            wanted.setdefault(self._positions.get(self._source(name), -1), []).append(name)
        for position, (_, member, archive) in enumerate(self._walk()):
            if position in wanted:
                stream = archive.extractfile(member) if member.isfile() else None
                data = stream.read() if stream else b""
                yield from ((name, partial(bytes, data)) for name in wanted[position])

    def fingerprint(self, images: Callable[[], list[Entry]]) -> dict[str, object]:
        return archive_fingerprint(self.path)

    def _walk(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        try:
            with open_stream(self.path) as archive:
                for member in archive:
                    yield member.name.removeprefix("./") + "/" * member.isdir(), member, archive
        except DataError:
            raise
        except Exception as error:  # each decompressor has its own errors
            raise damaged(self.path, error) from error


def target_of(name: str, member: tarfile.TarInfo) -> str:
    """What a link leads to: a hard link names a member, a symbolic link a path relative to it."""
    target = member.linkname if member.islnk() else posixpath.join(posixpath.dirname(name), member.linkname)
    return posixpath.normpath(target)


@contextmanager
def open_stream(path: Path) -> Iterator[tarfile.TarFile]:
    """A .tar from front to back, with any compression."""
    if not path.name.lower().endswith(ZSTD_SUFFIXES):
        with tarfile.open(path, "r|*", tarinfo=StrictTarInfo) as archive:
            yield archive
        return
    with open_zstd(path) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictTarInfo) as archive:
        yield archive


def open_zstd(path: Path):
    """The bytes of a Zstandard file, from Python 3.14's module or the package zstandard; a DataError without both."""
    with suppress(ImportError):
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

        return zstd.open(path)
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise DataError(
            f"{path} needs Python 3.14 or `pip install zstandard`; or unpack it (tar --zstd -xf)."
        ) from None
    return zstandard.open(path, "rb")
