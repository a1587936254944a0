"""The images to label: files, folders, archives and lists of paths, in a fixed order."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from datamodules.errors import DataError
from datamodules.sources.files import ARCHIVES, Directory, Entry, Files, Load, names_an_archive, open_files
from datamodules.sources.naming import IMAGE_SUFFIXES, UNSUPPORTED, displayable, is_hidden, is_image, why_not

LISTS = (".txt", ".lst")  # files of paths
STDIN = "-"
Content = bytes | Exception


@dataclass(frozen=True)
class Part:
    """One input: a file, a folder or an archive.

    Attributes:
        files: reads the input.
        images: its images; those of an unsupported format have `problem` set.
        prefix: with it, an image's name becomes its path in the table.
        left_out: number of other files, by reason.
    """

    files: Files
    images: list[Entry]
    prefix: str
    left_out: Counter[str] = field(default_factory=Counter)


def parts_of(inputs: Iterable[str]) -> list[Part]:
    """All inputs, with lists expanded.

    Raises:
        DataError: an input does not exist, or a folder or archive contains no image.
    """
    return [part_of(Path(path)) for each in inputs for path in named_by(each)]


def named_by(given: str) -> list[str]:
    """The path itself, or the paths in a list: one per line, or separated by NUL bytes like those of `find -print0`."""
    if given != STDIN and not (given.lower().endswith(LISTS) and Path(given).is_file()):
        return [given]
    content = sys.stdin.buffer.read() if given == STDIN else Path(given).read_bytes()
    separator = b"\0" if b"\0" in content else b"\n"
    paths = [line.strip(b"\r\n").decode("utf-8", "surrogateescape") for line in content.split(separator)]
    if not any(paths):
        raise DataError(f"no paths in {'standard input' if given == STDIN else given}; expected one per line.")
    return [path for path in paths if path]


def part_of(path: Path) -> Part:
    """The images of one path."""
    if not path.exists():
        raise DataError(
            f"there is no {path}; expected an image, a folder, or a {ARCHIVES} archive of images; a .txt with "
            "one path per line; or - for such lines from standard input."
        )
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path} is not a regular file; expected an image, a folder or an archive.")
    if path.is_file() and not names_an_archive(path):
        return Part(Directory(path.parent), [Entry(path.name)], path.as_posix().removesuffix(path.name))
    files = open_files(path)
    found = (entry for entry in files.entries() if not entry.name.endswith("/"))
    visible = [entry for entry in found if not is_hidden(entry.name)]
    images = [image for entry in visible if (image := as_image(entry))]
    if not images:
        raise DataError(f"no images in {path}; expected files ending in {' '.join(IMAGE_SUFFIXES)}.")
    others = Counter(why_not(entry.name) for entry in visible if as_image(entry) is None)
    return Part(files, images, f"{path.as_posix()}/", others)


def as_image(entry: Entry) -> Entry | None:
    """The entry of an image, with `problem` set if its format is not supported; None for any other file."""
    if is_image(entry.name):
        return entry
    if os.path.splitext(entry.name)[1].lower() in UNSUPPORTED:
        return entry._replace(problem=why_not(entry.name))
    return None


def paths_of(parts: Iterable[Part]) -> list[str]:
    """The paths in the table, one per image."""
    return [displayable(part.prefix + image.name) for part in parts for image in part.images]


def without(parts: Iterable[Part], done: Iterable[str]) -> list[Part]:
    """The parts without the images whose paths are done."""
    counts, left = Counter(done), []
    for part in parts:
        images = []
        for image in part.images:
            path = displayable(part.prefix + image.name)
            if counts[path]:
                counts[path] -= 1
            else:
                images.append(image)
        left.append(replace(part, images=images))
    return left


def left_out(parts: Iterable[Part]) -> str:
    """A sentence about the files that are not images; empty if there are none."""
    total = sum((part.left_out for part in parts), Counter[str]())
    kinds = ", ".join(f"{count} {what}" for what, count in total.most_common(8))
    return f"left out {total.total()} files: {kinds}" if total else ""


def contents(part: Part) -> Iterator[tuple[str, Content]]:
    """Each image's path and bytes, or the error that prevents reading it."""
    yield from ((part.prefix + entry.name, OSError(entry.problem)) for entry in part.images if entry.problem)
    left = {entry.name: None for entry in part.images if not entry.problem}
    try:
        for name, load in part.files.loads(list(left)):
            del left[name]
            yield part.prefix + name, content(load)
    except DataError as error:  # what follows the damage in a .tar cannot be read
        yield from ((part.prefix + name, error) for name in left)


def content(load: Load) -> Content:
    """The bytes of a file, or the error that prevents reading it."""
    try:
        return load()
    except Exception as error:  # each kind of archive raises its own
        return error
