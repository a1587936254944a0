"""The packed cache: one data set as memory-mapped arrays, built once and never half.

A cache is a folder `<dataset>-<fingerprint>/` with

    images.npy   uint8 [N, 3, S, S]
    labels.npy   int64 [N]; -1 for an image that could not be read and was skipped
    names.json   N names
    meta.json    classes, split sizes, checksums of the other files

It is built in a temporary folder and renamed when it is whole, so a killed build leaves nothing that
looks finished. A lock lets one process build while the others wait; where the file system has no
locks, every process builds its own and the first rename wins.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from datamodules.errors import DataError
from datamodules.sources.source import Source

FORMAT = 2
CHECKED = ("images.npy", "labels.npy", "names.json")
NAMES_IN_ERROR = 20
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # NFS and Lustre, by their mount options
Log = Callable[[str], None]


class Meta(TypedDict):
    """What meta.json holds."""

    format: int
    dataset: str
    classes: list[str]
    split_sizes: dict[str, int]
    shape: list[int]
    skipped: int
    sha256: dict[str, str]


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

    @property
    def classes(self) -> list[str]:
        return self.meta["classes"]

    @property
    def content(self) -> str:
        """A short name for what there is to learn: the same wherever it lies, and whenever it was packed."""
        arrays = [self.meta["sha256"][name] for name in ("images.npy", "labels.npy")]
        told = json.dumps([arrays, self.classes, self.meta["split_sizes"]])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending int64, without images that were skipped."""
        sizes = self.meta["split_sizes"]
        start = sum(sizes[earlier] for earlier in list(sizes)[: list(sizes).index(split)])
        return start + np.flatnonzero(self.labels[start : start + sizes[split]] >= 0)

    def names(self) -> list[str]:
        """The name of every row."""
        return json.loads((self.folder / "names.json").read_text())


def open_or_pack(
    source: Source, dataset: str, cache_dir: Path, skip_bad: bool, log: Log, progress: bool = True
) -> PackedImages:
    """Open the cache of a source, building it first where it is missing.

    Args:
        source: the data set.
        dataset: its name, the first part of the folder's name.
        cache_dir: where caches lie.
        skip_bad: leave unreadable images out (counted and logged) instead of stopping.
        log: gets one line for each thing a user should know.
        progress: draw a progress bar while building, on a terminal.

    Raises:
        DataError: unreadable images, no space, or no permission.
    """
    options = {"format": FORMAT, "stored_size": source.stored_size, "skip_bad": skip_bad}
    fingerprint = json.dumps([options, source.fingerprint()], sort_keys=True)
    folder = cache_dir / f"{dataset}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}"
    if not folder.exists():
        with building(folder, log):
            if not folder.exists():
                pack(source, dataset, folder, skip_bad, log, progress)
    return open_packed(folder)


def open_packed(folder: Path) -> PackedImages:
    """Memory-map a finished cache.

    Raises:
        DataError: it is damaged; the message says what to delete.
    """
    try:
        meta: Meta = json.loads((folder / "meta.json").read_text())
        # Copy-on-write: torch wants memory that it may write to, the file stays as it is.
        images = np.load(folder / "images.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy")
        rows = sum(meta["split_sizes"].values())
        whole = (
            list(images.shape) == meta["shape"]
            and rows == len(labels) == len(images)
            and (images.dtype, labels.dtype) == (np.uint8, np.int64)
            and images.flags.c_contiguous
            and bool(meta["classes"])
            and meta["sha256"].keys() >= set(CHECKED)
            and (folder / "names.json").stat().st_size > 0
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the packed cache {folder} is damaged ({error}); delete it to build it again.") from error
    if not whole:
        raise DataError(f"the packed cache {folder} does not match its meta.json; delete it to build it again.")
    return PackedImages(folder, images, labels, meta)


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
    """Whether a file of a cache can be read and is what was written."""
    try:
        return sha256_of(packed.folder / name) == packed.meta["sha256"][name]
    except (OSError, KeyError):
        return False


def pack(source: Source, dataset: str, folder: Path, skip_bad: bool, log: Log, progress: bool) -> None:
    """Build a cache in a temporary folder and rename it to `folder`."""
    listing = source.listing()
    shape = (len(listing.labels), 3, source.stored_size, source.stored_size)
    temporary = folder.with_name(f"{folder.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    log(f"packing {shape[0]:,} images into {folder}")
    try:
        temporary.mkdir(parents=True)
        bad = write_images(source, temporary / "images.npy", shape, listing.names, progress)
        report_bad(bad, shape[0], skip_bad, log)
        labels = listing.labels.copy()
        labels[list(bad)] = -1
        write_synced(temporary / "labels.npy", lambda file: np.save(file, labels))
        write_synced(temporary / "names.json", lambda file: file.write(json.dumps(listing.names).encode()))
        meta = Meta(
            format=FORMAT,
            dataset=dataset,
            classes=listing.classes,
            split_sizes=listing.split_sizes,
            shape=list(shape),
            skipped=len(bad),
            sha256={name: sha256_of(temporary / name) for name in CHECKED},
        )
        write_synced(temporary / "meta.json", lambda file: file.write(json.dumps(meta, indent=1).encode()))
        publish(temporary, folder)
    except OSError as error:
        raise DataError(
            f"cannot write the packed cache to {folder.parent} ({error.strerror or error}); it needs "
            f"{np.prod(shape) / 1e6:,.0f} MB. Free some space, or set data.cache_dir to another place."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_images(
    source: Source, path: Path, shape: tuple[int, ...], names: list[str], progress: bool
) -> dict[int, str]:
    """Write images.npy row by row; returns, by row, the name and reason of each bad image."""
    from tqdm import tqdm

    bad: dict[int, str] = {}
    row_bytes = int(np.prod(shape[1:]))
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        # Taking the space first turns a full disk into an error here; through a memory map it would be SIGBUS.
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), start, max(shape[0] * row_bytes, 1))
        for row, image in tqdm(
            source.images(), total=shape[0], unit="image", disable=None if progress else True, mininterval=0.5
        ):
            if isinstance(image, Exception):
                bad[row] = f"{names[row]}: {image or type(image).__name__}"
            else:
                file.seek(start + row * row_bytes)
                file.write(np.ascontiguousarray(image).data)
        file.flush()
        os.fsync(file.fileno())
    return bad


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def report_bad(bad: dict[int, str], total: int, skip_bad: bool, log: Log) -> None:
    """Unreadable images: logged when they may be skipped, else one error that names them."""
    if not bad:
        return
    names = "\n  ".join(list(bad.values())[:NAMES_IN_ERROR])
    more = f"\n  and {len(bad) - NAMES_IN_ERROR} more" if len(bad) > NAMES_IN_ERROR else ""
    found = f"{len(bad)} of {total} images cannot be read:\n  {names}{more}"
    if not skip_bad:
        raise DataError(f"{found}\nMend or remove them, or set data.on_bad_image: skip to train without them.")
    log(f"skipping: {found}")


def write_synced(path: Path, write: Callable) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def publish(temporary: Path, folder: Path) -> None:
    """Rename the finished cache to its place; where another builder was first, keep that one."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "meta.json").exists():
            raise


def acquire_lock(folder: Path, log: Log) -> BaseFileLock | None:
    """Wait for the build lock of a cache; None where the file system has no locks."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"another process is packing {folder.name}: waiting for it")
            lock.acquire()
    except NotImplementedError:  # older filelock's word for a file system without locks
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise DataError(f"cannot write to {folder.parent} ({error.strerror}); set data.cache_dir elsewhere.") from error
    return lock


@contextmanager
def building(folder: Path, log: Log) -> Iterator[None]:
    """Hold the build lock of a cache, and clear away what killed builders left."""
    lock = acquire_lock(folder, log)
    if lock is None:
        yield
        return
    try:
        for leftover in folder.parent.glob(f"{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()
