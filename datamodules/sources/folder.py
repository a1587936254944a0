"""Images in folders named after their class: train/<class>/*, test/<class>/* and, if you like, val/<class>/*."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.errors import DataError
from datamodules.sources.archive import open_files
from datamodules.sources.decoding import decode_image
from datamodules.sources.source import SPLITS, Listing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
CHUNK = 256  # files in memory at once while packing


class ImageFolder:
    """A directory, .zip or .tar(.gz) of class folders.

    The folders train/ and test/ may lie at the top or below a single outer folder, as archives often have it.

    Args:
        root: the directory or archive.
        stored_size: side of the stored square in pixels; every image is scaled and cut to it.

    Raises:
        DataError: nothing at `root`, not an archive, no train/<class>/, fewer than two classes, an empty
            class folder, or classes that differ between the splits.
    """

    def __init__(self, root: Path, stored_size: int) -> None:
        self.root = root
        self.stored_size = stored_size
        self.files = open_files(root)

    def fingerprint(self) -> dict[str, object]:
        return {"source": "image_folder", **self.files.fingerprint()}

    def listing(self) -> Listing:
        names = self.files.names()
        members = images_among(names)
        check_not_empty(self.root, names, members)
        classes = check_classes(self.root, members)
        numbers = {name: number for number, name in enumerate(classes)}
        return Listing(
            classes=classes,
            labels=np.array([numbers[label] for _, label, _ in members], dtype=np.int64),
            names=[name for _, _, name in members],
            split_sizes={split: sum(member[0] == split for member in members) for split in SPLITS},
        )

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        rows = {name: row for row, (_, _, name) in enumerate(images_among(self.files.names()))}
        stream = self.files.read(rows)
        # Pillow lets go of the interpreter lock while it decodes, so threads are enough.
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            while chunk := list(islice(stream, CHUNK)):
                decoded = pool.map(self._decode, (data for _, data in chunk))
                yield from zip((rows[name] for name, _ in chunk), decoded, strict=True)

    def _decode(self, data: bytes) -> np.ndarray | Exception:
        try:
            return decode_image(data, self.stored_size)
        except Exception as error:  # Pillow's plugins raise anything for a broken file; the packer lists it by name
            return error


def images_among(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """(split, class, name) of every image, ordered by split, class and name."""
    # A set: an archive that was appended to may hold a name twice, the last one counts.
    members = {member for name in names if (member := split_and_class(name))}
    return sorted(members, key=lambda member: (SPLITS.index(member[0]), member[1], member[2]))


def split_and_class(name: str) -> tuple[str, str, str] | None:
    """What a path says about its image: (split, class, path), or None where it is none of ours."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
        return None
    for depth in (0, 1):
        if len(path.parts) >= depth + 3 and path.parts[depth] in SPLITS:
            return path.parts[depth], path.parts[depth + 1], name
    return None


def class_folder(name: str) -> tuple[str, str] | None:
    """(split, class) where a name is that of a class folder, ending in a slash."""
    parts = PurePosixPath(name).parts
    for depth in (0, 1):
        if len(parts) == depth + 2 and parts[depth] in SPLITS and name.endswith("/") and not parts[-1].startswith("."):
            return parts[depth], parts[depth + 1]
    return None


def check_not_empty(root: Path, names: Iterable[str], members: Iterable[tuple[str, str, str]]) -> None:
    """Raise a DataError that names the class folders without an image."""
    filled = {(split, label) for split, label, _ in members}
    folders = [name for name in names if (folder := class_folder(name)) and folder not in filled]
    if folders:
        raise DataError(
            f"no images in {', '.join(sorted(folders))} of {root}; remove the empty class folders from all splits, "
            f"or fill them with files ending in {' '.join(IMAGE_SUFFIXES)}."
        )


def check_classes(root: Path, members: Iterable[tuple[str, str, str]]) -> list[str]:
    """The class names, sorted; every split that has images must have all of them."""
    found: dict[str, set[str]] = {}
    for split, label, _ in members:
        found.setdefault(split, set()).add(label)
    if "train" not in found:
        raise DataError(
            f"no images in {root} as train/<class>/<image>; expected one folder per class below train/ "
            f"(and test/, perhaps val/), with files ending in {' '.join(IMAGE_SUFFIXES)}."
        )
    for split, labels in found.items():
        if labels != found["train"]:
            only_here = ", ".join(sorted(labels ^ found["train"]))
            raise DataError(
                f"train and {split} in {root} have different classes; expected the same folders in both, but only one "
                f"has {only_here}. Add what is missing to the other, or remove it here."
            )
    if len(found["train"]) < 2:
        raise DataError(
            f"only one class in {root}: {found['train'].pop()}; a classifier needs two or more. Add a folder of images "
            "for each other class to every split, one of them for what is none of the others, say."
        )
    return sorted(found["train"])
