"""Building a packed cache: in a temporary folder that is renamed when it is complete, so a killed build leaves nothing
that looks finished.

A lock lets one process build while the others wait; if the file system has no locks, every process builds its own and
the first rename wins.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from datamodules.errors import DataError
from datamodules.packed_cache import (
    CHECKED,
    FORMAT,
    MEND,
    Meta,
    PackedImages,
    Report,
    check_unreadable,
    open_packed,
    other_caches,
    sha256_of,
    unreadable_images,
)
from datamodules.sources.source import Listing, Source
from lightning_app.files import replace_file, sync

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # NFS and Lustre, depending on mount options
Log = Callable[[str], None]


def open_or_pack(
    source: Source, dataset: str, cache_dir: Path, skip_bad: bool, log: Log, progress: bool = True
) -> PackedImages:
    """Open the cache of a source, building it first if it is missing.

    Args:
        skip_bad: leave unreadable images out (counted and logged) instead of stopping. The others are packed in either
            case, so choosing `skip` later costs no second packing.

    Raises:
        DataError: unreadable images, no space, or no permission.
    """
    fingerprint = json.dumps([FORMAT, source.fingerprint()], sort_keys=True)
    folder = cache_dir / f"{dataset}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}"
    if not folder.exists():
        with building(folder, log):
            if not folder.exists():
                pack(source, dataset, folder, skip_bad, log, progress)
                tell_of_others(open_packed(folder), log)
    packed = open_packed(folder)
    if packed.meta["skipped"]:
        check_unreadable(packed, skip_bad, log)
    return packed


def pack(source: Source, dataset: str, folder: Path, skip_bad: bool, log: Log, progress: bool) -> None:
    """Build a cache in a temporary folder and rename it to `folder`."""
    listing = source.listing()
    shape = (len(listing.labels), 3, source.stored_size, source.stored_size)
    temporary = folder.with_name(f"{folder.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    check_space(folder.parent, shape)
    log(f"packing {shape[0]:,} images as {shape[2]}x{shape[3]} pixels into {folder} ({megabytes(shape)})")
    try:
        temporary.mkdir(parents=True)
        fill(temporary, dataset, listing, source, skip_bad, progress)
        publish(temporary, folder)
    except OSError as error:
        raise no_space(folder.parent, shape, error.strerror or str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fill(folder: Path, dataset: str, listing: Listing, source: Source, skip_bad: bool, progress: bool) -> None:
    """Write the files of a cache."""
    shape = (len(listing.labels), 3, source.stored_size, source.stored_size)
    hashes = np.zeros(shape[0], dtype=np.uint64)
    bad = write_images(source, folder / "images.npy", shape, hashes, progress)
    labels = listing.labels.copy()
    labels[list(bad)] = -1
    np.save(array := io.BytesIO(), labels)
    replace_file(folder / "labels.npy", array.getvalue())
    replace_file(folder / "names.json", json.dumps(listing.names).encode())
    unreadable = [(listing.names[row], str(bad[row]) or type(bad[row]).__name__) for row in sorted(bad)]
    equal = equal_images(listing, labels, hashes)
    report = Report(notes=listing.notes, ignored=listing.ignored, unreadable=unreadable, equal=equal)
    if not skip_bad and any(isinstance(error, OSError) and error.errno for error in bad.values()):
        # What the system refuses today it may give tomorrow, with an unchanged fingerprint: keep nothing.
        raise DataError(unreadable_images(report, shape[0]) + MEND)
    replace_file(folder / "report.json", json.dumps(report, indent=1).encode())
    meta = Meta(
        format=FORMAT,
        dataset=dataset,
        classes=listing.classes,
        split_sizes=listing.split_sizes,
        shape=list(shape),
        skipped=len(bad),
        sha256={name: sha256_of(folder / name) for name in CHECKED},
    )
    replace_file(folder / "meta.json", json.dumps(meta, indent=1).encode())


def check_space(cache_dir: Path, shape: tuple[int, ...]) -> None:
    """Raise a DataError if the images will not fit, before reading any of them."""
    place = next(each for each in (cache_dir, *cache_dir.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if np.prod(shape) > free:
        raise no_space(cache_dir, shape, f"No space left on device: {free / 1e6:,.0f} MB are free")


def no_space(cache_dir: Path, shape: tuple[int, ...], reason: str) -> DataError:
    """The error for a cache that cannot be written."""
    return DataError(
        f"cannot write the packed cache to {cache_dir} ({reason}); it needs {megabytes(shape)}. Free some space, or "
        f"set data.cache_dir to another place or data.stored_size to less than {shape[-1]}."
    )


def megabytes(shape: tuple[int, ...]) -> str:
    """The size of a uint8 array of this shape."""
    return f"{np.prod(shape) / 1e6:,.0f} MB"


def write_images(
    source: Source, path: Path, shape: tuple[int, ...], hashes: np.ndarray, progress: bool
) -> dict[int, Exception]:
    """Write images.npy row by row, and the hash of each row's bytes to `hashes`, uint64 [N].

    Returns:
        By row, why it is not what its file holds: it is unreadable, or the source left it out.
    """
    from tqdm import tqdm

    bad: dict[int, Exception] = dict.fromkeys(range(shape[0]), DataError("it disappeared while the others were packed"))
    row_bytes = int(np.prod(shape[1:]))
    with open(path, "wb") as file:
        start = begin_array(file, shape)
        for row, image in tqdm(
            source.images(), total=shape[0], unit="image", disable=None if progress else True, mininterval=0.5
        ):
            if isinstance(image, Exception):
                bad[row] = image
                continue
            pixels = np.ascontiguousarray(image).data
            file.seek(start + row * row_bytes)
            file.write(pixels)
            hashes[row] = int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "little")
            del bad[row]
        file.flush()
        os.fsync(file.fileno())
    return bad


def begin_array(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of a uint8 .npy file and take its space; returns where the values start."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start = file.tell()
    # Taking the space first turns a full disk into an error here; through a memory map it would be SIGBUS.
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(file.fileno(), start, max(int(np.prod(shape)), 1))
    return start


def equal_images(listing: Listing, labels: np.ndarray, hashes: np.ndarray) -> list[tuple[str, str, str, str]]:
    """Images with the same stored pixels as one in an earlier split: (split, name, earlier split, name)."""
    first: dict[int, tuple[str, str]] = {}
    found: list[tuple[str, str, str, str]] = []
    split_of = np.repeat(list(listing.split_sizes), list(listing.split_sizes.values()))
    for row in np.flatnonzero(labels >= 0):
        split, name = str(split_of[row]), listing.names[row]
        earlier = first.setdefault(int(hashes[row]), (split, name))
        if earlier[0] != split:
            found.append((split, name, *earlier))
    return found


def tell_of_others(packed: PackedImages, log: Log) -> None:
    """Report how much space caches take that may no longer be needed."""
    if others := other_caches(packed):
        log(
            f"{packed.folder.parent} has {len(others)} other packed data sets, {sum(others.values()) / 1e6:,.0f} MB; "
            "`python -m lightning_app prepare --clean` with the options of this fit removes them"
        )


def publish(temporary: Path, folder: Path) -> None:
    """Rename the finished cache to its destination; if another builder was first, keep that one."""
    try:
        os.rename(temporary, folder)
        sync(folder.parent)
    except OSError:
        if not (folder / "meta.json").exists():
            raise


def acquire_lock(folder: Path, log: Log) -> BaseFileLock | None:
    """Wait for the build lock of a cache; None if the file system has no locks."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"another process is packing {folder.name}: waiting for it")
            lock.acquire()
    except NotImplementedError:  # older filelock's error for a file system without locks
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise DataError(
            f"cannot write to {folder.parent} ({error.strerror}); set data.cache_dir to another place."
        ) from error
    return lock


@contextmanager
def building(folder: Path, log: Log) -> Iterator[None]:
    """Hold the build lock of a cache, and remove what killed builders left."""
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
