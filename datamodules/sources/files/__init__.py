"""The files in a directory, an archive or .parquet files, and their bytes: one way to list and read them all."""

from __future__ import annotations

from pathlib import Path

from datamodules.errors import DataError
from datamodules.sources.files.directory import Directory
from datamodules.sources.files.entry import Entry, Files, Load
from datamodules.sources.files.parquet import ParquetFiles, tables_in
from datamodules.sources.files.tar_archive import TAR_SUFFIXES, TarArchive
from datamodules.sources.files.zip_archive import ZIP_SUFFIX, ZipArchive

__all__ = [
    "ARCHIVES",
    "Directory",
    "Entry",
    "Files",
    "Load",
    "ParquetFiles",
    "TarArchive",
    "ZipArchive",
    "names_an_archive",
    "open_files",
]

ARCHIVES = f"{ZIP_SUFFIX}, {', '.join(TAR_SUFFIXES)}"
UNPACK_FIRST = {".7z": "7z x", ".rar": "unrar x", ".gz": "gunzip", ".xz": "unxz", ".bz2": "bunzip2"}


def names_an_archive(root: Path) -> bool:
    """Whether a path, even of a missing file, is an archive's."""
    return root.name.lower().endswith((ZIP_SUFFIX, *TAR_SUFFIXES))


def open_files(root: Path, names_encoding: str | None = None) -> Files:
    """Open a directory or an archive.

    Args:
        names_encoding: of the names in a .zip that are not marked as UTF-8; None assumes UTF-8 where they are valid.

    Raises:
        DataError: nothing is there, or it is neither a directory nor a supported archive, or pyarrow is missing.
    """
    if root.is_dir():
        return ParquetFiles(tables) if (tables := tables_in(root)) else Directory(root)
    if not root.exists():
        raise DataError(f"no data at {root}: expected a directory or an archive ({ARCHIVES}); set data.root to it.")
    if root.name.lower().endswith(ZIP_SUFFIX):
        return ZipArchive(root, names_encoding)
    if root.name.lower().endswith(TAR_SUFFIXES):
        return TarArchive(root)
    if command := UNPACK_FIRST.get(root.suffix.lower()):
        raise DataError(
            f"{root.suffix} is not read: unpack it ({command} {root.name}), and set data.root to the folder."
        )
    raise DataError(f"{root} is neither a directory nor an archive ending in {ARCHIVES}.")
