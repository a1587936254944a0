"""Files in a .zip."""

from __future__ import annotations

import logging
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path

from datamodules.errors import DataError
from datamodules.sources.files.entry import Entry, Load, archive_fingerprint, damaged

ZIP_SUFFIX = ".zip"
# RuntimeError: encrypted, or a compression that zipfile does not know.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
UTF8_NAME, ENCRYPTED = 0x800, 0x1  # flags
COMPRESSIONS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd", 99: "AES encryption"}


log = logging.getLogger(__name__)


def is_told(info: zipfile.ZipInfo) -> bool:
    """Whether a member's name is unambiguous."""
    return bool(info.flag_bits & UTF8_NAME) or info.filename.isascii()


class ZipArchive:
    """Names that are not marked as UTF-8 are read as UTF-8 if valid, else in `names_encoding`.

    The file stays open between listing and reading, so that both see the same one.
    """

    def __init__(self, path: Path, names_encoding: str | None = None) -> None:
        self.path, self.names_encoding = path, names_encoding

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except ZIP_ERRORS as error:
            raise damaged(self.path, error) from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """By name; if several have one name, the last counts."""
        infos = self._archive.infolist()
        for info in infos:
            self._check_readable(info)
        names = [self._name(info) for info in infos]
        if guessed := sum(name == info.filename and not is_told(info) for name, info in zip(names, infos, strict=True)):
            log.warning(
                f"{guessed} names in {self.path} are neither UTF-8 nor in a declared encoding: characters may be "
                "wrong. data.names_encoding sets it (for example shift_jis, gbk or cp1252)."
            )
        if any("\\" in name for name in names) and not any("/" in name for name in names):
            names = [name.replace("\\", "/") for name in names]  # by Windows programs that use backslashes
        return {name.removeprefix("./"): info for name, info in zip(names, infos, strict=True)}

    def entries(self) -> list[Entry]:
        return [Entry(name, info.file_size) for name, info in self._members.items()]

    def loads(self, names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        return ((name, partial(self._archive.read, self._members[name])) for name in names)

    def fingerprint(self, images: Callable[[], list[Entry]]) -> dict[str, object]:
        return archive_fingerprint(self.path)

    def _check_readable(self, info: zipfile.ZipInfo) -> None:
        """Raise a DataError for a member that zipfile cannot read, though it is intact."""
        if info.flag_bits & ENCRYPTED:
            raise DataError(f"{self.path} is encrypted: unpack it with its password, and set data.root to the folder.")
        try:
            zipfile._check_compression(info.compress_type)  # type: ignore[attr-defined]
        except (NotImplementedError, RuntimeError):
            kind = COMPRESSIONS.get(info.compress_type, f"method {info.compress_type}")
            raise DataError(
                f"{self.path} is compressed with {kind}, which Python's zipfile does not read: unpack it, and set "
                "data.root to the folder."
            ) from None

    def _name(self, info: zipfile.ZipInfo) -> str:
        if is_told(info):
            return info.filename
        raw = info.filename.encode("cp437")  # zipfile has read it in this encoding
        for encoding in filter(None, (self.names_encoding, "utf-8")):
            try:
                return raw.decode(encoding)
            except (UnicodeDecodeError, LookupError) as error:
                if self.names_encoding:
                    raise DataError(
                        f"data.names_encoding is {self.names_encoding}, but not all names in {self.path} are ({error})."
                    ) from error
        return info.filename
