"""Images and labels in .parquet files, like Hugging Face data sets, presented as files in class folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.sources.files.entry import Entry, Load, archive_fingerprint, damaged
from datamodules.sources.naming import is_hidden

SUFFIX = ".parquet"
LABEL_COLUMNS = ("label", "class", "class_name", "target", "category", "labels")
BATCH_ROWS, BATCH_BYTES = 64, 16 << 20  # that are read at once


class ParquetFiles:
    """Each row is an image in its class's folder, below folders named by the words of the file's name.

    So train-00000-of-00002.parquet has train/<class>/*, which is treated like folders. Rows are named by file and
    number.

    Args:
        tables: files in one folder.

    Raises:
        DataError: pyarrow is missing.
    """

    def __init__(self, tables: list[Path]) -> None:
        self.tables = tables
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise DataError(f"to read {tables[0]}: pip install 'laptop-to-cluster[parquet]'") from error
        self._arrow = pyarrow

    @contextmanager
    def _open(self, table: Path) -> Iterator[Any]:
        """A ParquetFile, whose errors are of one type."""
        try:
            with self._arrow.parquet.ParquetFile(table) as file:
                yield file
        except (self._arrow.ArrowException, OSError) as error:
            raise damaged(table, error) from error

    def entries(self) -> list[Entry]:
        return [entry for table in self.tables for entry in self._rows(table)]

    def _rows(self, table: Path) -> Iterator[Entry]:
        with self._open(table) as file:
            _, label, names = columns_of(table, file.schema_arrow)
            above, size = folder_of(table), image_bytes(file.metadata)
            for row, value in enumerate(file.read(columns=[label]).column(0).to_pylist()):
                yield Entry(f"{above}{class_folder(value, names)}{table.stem}-{row:06}.png", size)

    def _images(self, table: Path) -> Iterator[Any]:
        with self._open(table) as file:
            image, _, _ = columns_of(table, file.schema_arrow)
            at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // image_bytes(file.metadata)))
            for batch in file.iter_batches(at_once, columns=[image], use_threads=False):
                yield from batch.column(0)

    def loads(self, names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        wanted = set(names)
        for table in self.tables:
            for entry, image in zip(self._rows(table), self._images(table), strict=True):
                if entry.name in wanted:
                    yield entry.name, partial(content, image)

    def fingerprint(self, images: Callable[[], list[Entry]]) -> dict[str, object]:
        return {"tables": [archive_fingerprint(table) for table in self.tables]}


def tables_in(root: Path) -> list[Path]:
    """The .parquet files of a folder without subfolders, or with a single one that contains them."""
    try:
        with os.scandir(root) as scan:
            visible = [child for child in scan if not is_hidden(child.name)]
    except OSError:  # Directory reports that
        return []
    folders = [child.path for child in visible if child.is_dir()]
    tables = sorted(Path(child.path) for child in visible if child.name.endswith(SUFFIX))
    if len(folders) == 1 and not tables:
        return tables_in(Path(folders[0]))
    return [] if folders else tables


def folder_of(table: Path) -> str:
    """The words of a file's name without its part number: cifar-test-00001-of-00002.parquet is cifar/test/."""
    words = re.split(r"[-_.]", re.sub(r"-\d+-of-\d+.*", "", table.stem))
    return "".join(f"{word}/" for word in words if word and not word.isdigit())


def class_folder(value: Any, names: list[str] | None) -> str:
    """The folder of a class; none for a row without a label, which Hugging Face writes as -1."""
    if value is None or (names is not None and not 0 <= value < len(names)):
        return ""
    return str(value if names is None else names[value]).replace("/", "\N{DIVISION SLASH}") + "/"


def columns_of(table: Path, schema: Any) -> tuple[str, str, list[str] | None]:
    """The columns of images and of labels (a DataError unless one of each), and the classes if the file has them."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = {name: each["names"] for name, each in features.items() if each.get("_type") == "ClassLabel"}
    labels = [name for name in schema.names if name in names or (not names and name.lower() in LABEL_COLUMNS)]
    images = [field.name for field in schema if re.search(r"^(large_)?binary|<bytes: (large_)?binary", str(field.type))]
    if (len(images), len(labels)) != (1, 1):
        raise DataError(
            f"{table} has the columns {', '.join(schema.names)}; expected a column of images (bytes; found "
            f"{', '.join(images) or 'none'}) and a column of classes ({LABEL_COLUMNS[0]}, or "
            f"{', '.join(LABEL_COLUMNS[1:])}; found {', '.join(labels) or 'none'})."
        )
    return images[0], labels[0], names.get(labels[0])


def image_bytes(metadata: Any) -> int:
    """The mean size of a row, which is about its image's size."""
    total = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(1, total // max(metadata.num_rows, 1))


def content(image: Any) -> bytes:
    """The bytes of an image, which may be stored beside the path of its original file."""
    found = image.as_py()
    found = found["bytes"] if isinstance(found, dict) else found
    if found is None:
        raise DataError("no bytes in the table")
    return found
