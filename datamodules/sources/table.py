"""Labels in a table: a .csv with a path, a label and optionally a split for each image."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import DataError
from datamodules.holdout import held_out
from datamodules.sources.files.entry import Entry, checksum
from datamodules.sources.files.parquet import LABEL_COLUMNS
from datamodules.sources.layout import NAMED, SPLIT_NAMES, Layout, check_classes, of_train, sort_rows, split_off_note
from datamodules.sources.naming import IMAGE_SUFFIXES, displayable, is_image, why_not

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "image_id", "img", "id")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
COLUMNS = (
    f"expected one for the file ({PATHS[0]}, or {', '.join(PATHS[1:])}) and one for the class ({LABEL_COLUMNS[0]}, or "
    f"{', '.join(LABEL_COLUMNS[1:])}), optionally one for the split ({SPLIT_COLUMNS[0]})"
)


class Line(NamedTuple):
    """A table's entry for an image; `split` is empty if not given."""

    path: str
    label: str
    split: str


def table_fingerprint(table: Path) -> str:
    """A short name for the table's content.

    Raises:
        DataError: it cannot be read.
    """
    return checksum([read(table)])


def read(table: Path) -> bytes:
    """The bytes of a table."""
    try:
        return table.read_bytes()
    except OSError as error:
        raise DataError(f"data.table {table} cannot be read ({error.strerror}); expected a .csv.") from error


def read_table(table: Path) -> list[Line]:
    """The lines of a table, each path once.

    Raises:
        DataError: columns are missing, a split has no known name, or a path has two labels.
    """
    try:
        text = read(table).decode("utf-8-sig")  # Excel starts with a byte-order mark
    except UnicodeDecodeError as error:
        raise DataError(f"data.table {table} is not UTF-8 ({error}); save it as UTF-8.") from error
    reader = csv.DictReader(text.splitlines(), dialect=dialect_of(text))
    columns = {name.strip().lower(): name for name in reader.fieldnames or () if name}
    path, label, split = (column_of(columns, names) for names in (PATHS, LABEL_COLUMNS, SPLIT_COLUMNS))
    if path is None or label is None:
        raise DataError(f"data.table {table} has the columns {', '.join(columns) or '(none)'}; {COLUMNS}.")
    lines: dict[str, Line] = {}
    for number, row in enumerate(reader, start=2):
        line = Line((row[path] or "").strip(), (row[label] or "").strip(), (row[split] or "").strip() if split else "")
        check_line(line, lines.get(line.path), f"{table}, line {number}")
        lines[line.path] = line
    if any(line.split for line in lines.values()) and not all(line.split for line in lines.values()):
        raise DataError(f"data.table {table} names the split of some images only; fill the column, or remove it.")
    return list(lines.values())


def dialect_of(text: str) -> type[csv.Dialect]:
    """Commas, unless the first line has more semicolons or tabs."""
    first = text.partition("\n")[0]

    class Dialect(csv.excel):
        delimiter = max(",;\t", key=first.count)

    return Dialect


def column_of(columns: dict[str, str], names: Iterable[str]) -> str | None:
    """The first of these columns that exists."""
    return next((columns[name] for name in names if name in columns), None)


def check_line(line: Line, before: Line | None, where: str) -> None:
    """Raise a DataError for a line that is incomplete, or contradicts an earlier one."""
    if not line.path or not line.label:
        raise DataError(f"{where}: expected a path and a label, found {line.path!r} and {line.label!r}.")
    if line.split and line.split.lower() not in SPLIT_NAMES:
        raise DataError(f"{where}: the split {line.split!r} is not one of {', '.join(SPLIT_NAMES)}.")
    if before not in (None, line):
        raise DataError(
            f"{where}: {line.path} is listed twice, as {before[1:]} and {line[1:]}; an image has one label."
        )


def table_layout(root: Path, table: Path, entries: Iterable[Entry], test_fraction: float) -> Layout:
    """Split and class of every image in a table.

    A path is relative to the root, and may omit the extension. A missing file is listed as unreadable; images that are
    not in the table are ignored.

    Raises:
        DataError: as in read_table; or splits have different classes.
    """
    entries = list(entries)
    lines = read_table(table)
    images = {entry.name: entry for entry in entries if is_image(entry.name)}
    short = {name[: -len(suffix)]: entry for name, entry in images.items() for suffix in endings(name)}
    found = [find(line.path, images, short) for line in lines]
    if lines and all(entry.problem == MISSING for entry in found):
        raise DataError(
            f"none of the {len(lines)} files of {table} is in {root}: {', '.join(line.path for line in lines[:NAMED])} "
            "...; expected paths relative to data.root."
        )
    said = [SPLIT_NAMES[line.split.lower()] for line in lines if line.split]
    splits = said or split_off(lines, test_fraction)
    rows = [(split, displayable(line.label), entry) for split, line, entry in zip(splits, lines, found, strict=True)]
    check_classes(table, rows if said else of_train(rows))
    taken = {entry.name for entry in found}
    rest = [entry.name for entry in entries if entry.name not in taken and not entry.name.endswith("/")]
    ignored = [(name, "not in the table" if is_image(name) else why_not(name)) for name in rest]
    return Layout(sort_rows(rows), [] if said else [split_off_note(test_fraction)], ignored)


def split_off(lines: list[Line], test_fraction: float) -> list[str]:
    """The split of each image of a table that names none."""
    test = held_out([line.label for line in lines], [line.path for line in lines], test_fraction, "test")
    return ["test" if chosen else "train" for chosen in test]


MISSING = "in the table, but missing"


def find(path: str, images: dict[str, Entry], short: dict[str, Entry]) -> Entry:
    """The file that a table's path names."""
    path = path.replace("\\", "/").removeprefix("./")
    return images.get(path) or short.get(path) or Entry(path, problem=MISSING)


def endings(name: str) -> list[str]:
    """A name's extension, if it is an image's."""
    return [suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)]
