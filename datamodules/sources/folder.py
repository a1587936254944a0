"""Image files in a directory or an archive, with classes from folder names or a table."""

from __future__ import annotations

import gc
import logging
import os
import statistics
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.errors import DataError
from datamodules.sources.budget import Budget
from datamodules.sources.decoding import decode_image, open_image, pixel_limit
from datamodules.sources.files import open_files
from datamodules.sources.files.entry import Entry, Load
from datamodules.sources.layout import Layout, read_layout
from datamodules.sources.naming import displayable
from datamodules.sources.shared_look import shared_look
from datamodules.sources.source import SPLITS, Listing
from datamodules.sources.table import table_fingerprint, table_layout

LARGEST_SIZE = 256  # of stored photographs: enough for training at 224
MEASURED = 100  # images whose size is read to choose the stored size
WAITING_BYTES = 64 << 20  # of files that are read and not yet decoded
WAITING = 256  # such files
DECODED_BYTES = 512 << 20  # of images being decoded, over all threads
log = logging.getLogger(__name__)
Decoded = np.ndarray | Exception


@dataclass(frozen=True)
class Reading:
    """How files become images and labels.

    Attributes:
        table: a .csv of labels; None uses the names of folders.
        test_fraction: share of each class that is split off for test if the data has no splits.
        names_encoding: of the names in a .zip that are not marked as UTF-8.
        max_megapixels: above which an image is unreadable; None is Pillow's limit.
    """

    table: Path | None = None
    test_fraction: float = 0.2
    names_encoding: str | None = None
    max_megapixels: float | None = None


DEFAULTS = Reading()


@contextmanager
def without_garbage_collector() -> Iterator[None]:
    """With objects for 200,000 files, it collects nothing, and takes as long as creating them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ImageFolder:
    """A directory, .zip or .tar of images; everything follows from one listing of its files.

    Args:
        root: the directory or archive.
        stored_size: side of the stored square in pixels; every image is scaled and cropped to it. None uses the median
            of the images' shorter sides, but no more than LARGEST_SIZE.
        reading: a table of labels, and other options.

    Raises:
        DataError: nothing at `root`, or not an archive; from the methods: the files fit no layout.
    """

    def __init__(self, root: Path, stored_size: int | None = None, reading: Reading = DEFAULTS) -> None:
        self.root, self.asked_size, self.reading = root, stored_size, reading
        self.files = open_files(root, reading.names_encoding)
        self._told: dict[str, object] | None = None

    @cached_property
    def layout(self) -> Layout:
        """The single listing."""
        return self._look()

    @without_garbage_collector()
    def _look(self) -> Layout:
        entries = self.files.entries()
        if self.reading.table:
            return table_layout(self.root, self.reading.table, entries, self.reading.test_fraction)
        return read_layout(self.root, entries, self.reading.test_fraction)

    @property
    def _entries(self) -> list[Entry]:
        """The file of every row."""
        return [entry for _, _, entry in self.layout.rows]

    @cached_property
    def stored_size(self) -> int:
        """Side of the stored images, in pixels."""
        if self.asked_size:
            return self.asked_size
        readable = [entry.name for entry in self._entries if not entry.problem]
        sizes = [
            size
            for _, load in self.files.loads(readable[:: -(-len(readable) // MEASURED) or 1])
            if (size := shorter_side(load))
        ]
        return min(LARGEST_SIZE, int(statistics.median_low(sizes))) if sizes else LARGEST_SIZE

    def fingerprint(self) -> dict[str, object]:
        """From a listing by this process, or by another one on this machine that started after it."""
        if self._told is None:
            request = repr((self.root.resolve(), self.asked_size, self.reading))
            self._told = shared_look(request, self._own_fingerprint)
        return self._told

    def _own_fingerprint(self) -> dict[str, object]:
        table = {"table": table_fingerprint(self.reading.table)} if self.reading.table else {}
        options = {"stored_size": self.asked_size, **asdict(self.reading), **table}
        return {"source": "image_folder", **options, **self.files.fingerprint(lambda: self._entries)}

    def listing(self) -> Listing:
        self._check_told()
        rows = self.layout.rows
        classes = sorted({label for _, label, _ in rows})
        numbers = {name: number for number, name in enumerate(classes)}
        return Listing(
            classes=classes,
            labels=np.array([numbers[label] for _, label, _ in rows], dtype=np.int64),
            names=[displayable(entry.name) for _, _, entry in rows],
            split_sizes={split: sum(row[0] == split for row in rows) for split in SPLITS},
            notes=self.layout.notes,
            ignored=[(displayable(name), reason) for name, reason in self.layout.ignored],
        )

    def _check_told(self) -> None:
        """Check that what is packed is what was fingerprinted, perhaps by another process.

        Raises:
            DataError: files appeared, disappeared or were written in between.
        """
        if self._told not in (None, self._own_fingerprint()):
            raise DataError(f"the images in {self.root} changed while the job started; start it again.")

    def images(self) -> Iterator[tuple[int, Decoded]]:
        """Read and decoded in one thread per processor: Pillow and zlib release the interpreter lock."""
        entries = self._entries
        rows = {entry.name: row for row, entry in enumerate(entries)}
        yield from ((row, DataError(entry.problem)) for row, entry in enumerate(entries) if entry.problem)
        size, seen = self.stored_size, self.files.fingerprint(lambda: entries)
        waiting: deque[tuple[int, int, Future[Decoded]]] = deque()
        held, budget = 0, Budget(DECODED_BYTES)
        with pixel_limit(self.reading.max_megapixels), ThreadPoolExecutor(processors()) as pool:
            for name, load in self.files.loads(entry.name for entry in entries if not entry.problem):
                row = rows[name]
                waiting.append((row, entries[row].size, pool.submit(decode, load, size, budget)))
                held += entries[row].size
                while held > WAITING_BYTES or len(waiting) > WAITING:
                    row, freed, future = waiting.popleft()
                    held -= freed
                    yield row, future.result()
            yield from ((row, future.result()) for row, _, future in waiting)
        self._tell_of_changes(seen)

    def _tell_of_changes(self, seen: dict[str, object]) -> None:
        """Report if files appeared, disappeared or were written while they were packed."""
        try:
            now = self.files.fingerprint(lambda: [entry for _, _, entry in self._look().rows])
        except (DataError, OSError) as error:
            now = {"error": str(error)}
        if now != seen:
            log.warning(
                f"the images in {self.root} changed while they were packed: files appeared, disappeared or were "
                "written. Those that were there at first are packed, each with its own label; the next start packs "
                "again."
            )


def processors() -> int:
    """The number that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode(load: Load, size: int, budget: Budget) -> Decoded:
    """A stored image, or why there is none."""
    try:
        return decode_image(load(), size, budget=budget)
    except Exception as error:  # Pillow's plugins raise anything for a broken file; the packer lists it by name
        return error


def shorter_side(load: Load) -> int:
    """The shorter side of an image, in pixels; 0 if unknown."""
    try:
        with open_image(load()) as image:
            return min(image.size)
    except Exception:  # as above; the packer will list it
        return 0
