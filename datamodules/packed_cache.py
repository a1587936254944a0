"""The packed cache: one data set as memory-mapped arrays, built once and never incomplete.

A cache is a folder `<dataset>-<fingerprint>/` with

    images.npy    uint8 [N, 3, S, S]
    labels.npy    int64 [N]; -1 for an image that could not be read
    names.json    N names
    report.json   what was decided, ignored, unreadable and equal while it was packed
    meta.json     classes, split sizes, checksums of the other files

`cache_building` builds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from datamodules.errors import DataError

FORMAT = 3
NAMES_IN_ERROR = 20
MEND = "\nRepair or remove them, or set data.on_bad_image: skip to train without them."
CHECKED = ("images.npy", "labels.npy", "names.json", "report.json")


class Meta(TypedDict):
    """The content of meta.json."""

    format: int
    dataset: str
    classes: list[str]
    split_sizes: dict[str, int]
    shape: list[int]
    skipped: int
    sha256: dict[str, str]


class Report(TypedDict):
    """The content of report.json.

    Attributes:
        notes: what was decided about the data, a sentence each.
        ignored: (name, reason) for the files that are not rows.
        unreadable: (name, reason) for the rows whose label is -1.
        equal: (split, name, earlier split, name) for images that equal one in an earlier split, pixel by pixel.
    """

    notes: list[str]
    ignored: list[tuple[str, str]]
    unreadable: list[tuple[str, str]]
    equal: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class PackedImages:
    """An open cache.

    Attributes:
        folder: where it lies.
        images: uint8 [N, 3, S, S], memory-mapped.
        labels: int64 [N].
        meta: classes, split sizes, checksums.
    """

    folder: Path
    images: np.ndarray
    labels: np.ndarray
    meta: Meta

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: its path, not its pixels."""
        return open_packed, (self.folder,)

    @property
    def classes(self) -> list[str]:
        return self.meta["classes"]

    @property
    def content(self) -> str:
        """A short name for what there is to learn: the same wherever it is stored, and whenever it was packed.

        Names are part of it: they decide which images are held out.
        """
        arrays = [self.meta["sha256"][name] for name in ("images.npy", "labels.npy", "names.json")]
        told = json.dumps([arrays, self.classes, self.meta["split_sizes"]])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def indices(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending int64, without unreadable images."""
        sizes = self.meta["split_sizes"]
        start = sum(sizes[earlier] for earlier in list(sizes)[: list(sizes).index(split)])
        return start + np.flatnonzero(self.labels[start : start + sizes[split]] >= 0)

    def names(self) -> list[str]:
        """The name of every row."""
        return json.loads((self.folder / "names.json").read_text())

    def report(self) -> Report:
        """The report on the data."""
        return json.loads((self.folder / "report.json").read_text())


def open_packed(folder: Path) -> PackedImages:
    """Memory-map a finished cache.

    Raises:
        DataError: it is damaged; the message says what to delete.
    """
    try:
        meta: Meta = json.loads((folder / "meta.json").read_text())
        # Copy-on-write: torch wants writable memory; the file does not change.
        images = np.load(folder / "images.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy")
        packed = PackedImages(folder, images, labels, meta)
        if is_whole(packed):
            return packed
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the packed cache {folder} is damaged ({error}); delete it to build it again.") from error
    raise DataError(f"the packed cache {folder} does not match its meta.json; delete it to build it again.")


def is_whole(packed: PackedImages) -> bool:
    """Whether the files of a cache are there and match its meta.json; what is missing there is a KeyError."""
    folder, images, labels, meta = packed.folder, packed.images, packed.labels, packed.meta
    return (
        list(images.shape) == meta["shape"]
        and sum(meta["split_sizes"].values()) == len(labels) == len(images)
        and (images.dtype, labels.dtype) == (np.uint8, np.int64)
        and images.flags.c_contiguous
        and bool(meta["classes"])
        and meta["sha256"].keys() >= set(CHECKED)
        and (folder / "names.json").stat().st_size > 0
        and (folder / "report.json").stat().st_size > 0
    )


def verify(packed: PackedImages) -> None:
    """Read a cache from end to end.

    Raises:
        DataError: a file is not what was written; the message says what to delete.
    """
    damaged = [name for name in CHECKED if not unchanged(packed, name)]
    if damaged:
        raise DataError(
            f"the packed cache {packed.folder} is damaged: {', '.join(damaged)} changed since it was written, or "
            "cannot be read (SHA-256 in meta.json). Delete the folder, and run prepare again."
        )


def unchanged(packed: PackedImages, name: str) -> bool:
    """Whether a file of a cache is readable and is what was written."""
    try:
        return sha256_of(packed.folder / name) == packed.meta["sha256"][name]
    except (OSError, KeyError):
        return False


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_unreadable(packed: PackedImages, skip_bad: bool, log: Callable[[str], None]) -> None:
    """Handle unreadable images: log them if they may be skipped, else raise one error that names them.

    Raises:
        DataError: they may not be skipped, or without them a class has no training image.
    """
    found = unreadable_images(packed.report(), len(packed.labels))
    if not skip_bad:
        raise DataError(found + MEND)
    left = np.bincount(packed.labels[packed.indices("train")], minlength=len(packed.classes))
    if not left.all():
        emptied = ", ".join(name for name, count in zip(packed.classes, left, strict=True) if not count)
        raise DataError(
            f"{found}\nWithout them, no training image is left of {emptied}: repair them, or remove the class."
        )
    log(f"skipping: {found}")


def unreadable_images(report: Report, total: int) -> str:
    """Their number, and the first ones with reasons."""
    bad = report["unreadable"]
    names = "\n  ".join(f"{name}: {reason}" for name, reason in bad[:NAMES_IN_ERROR])
    more = f"\n  and {len(bad) - NAMES_IN_ERROR} more" if len(bad) > NAMES_IN_ERROR else ""
    return f"{len(bad)} of {total} images cannot be read:\n  {names}{more}"


def other_caches(packed: PackedImages) -> dict[Path, int]:
    """The caches beside this one, with their bytes: from other data, other options, or before a change."""
    found = {path.parent for path in packed.folder.parent.glob("*/meta.json")} - {packed.folder}
    return {folder: sum(path.stat().st_size for path in folder.iterdir()) for folder in sorted(found)}
