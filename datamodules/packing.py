"""Building a packed cache: in a temporary folder that is renamed when it is complete, so a killed build leaves nothing
that looks finished.

A lock lets one process build while the others wait; where the file system has no locks, every process builds its own
and the first rename wins.
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

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from datamodules.errors import DataError
from datamodules.packed_cache import CHECKED, FORMAT, Meta, PackedImages, open_packed, sha256_of
from datamodules.sources.source import Source
from lightning_app.files import replace_file, sync

NAMES_IN_ERROR = 20
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # NFS and Lustre, by their mount options
Log = Callable[[str], None]


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
        np.save(array := io.BytesIO(), labels)
        replace_file(temporary / "labels.npy", array.getvalue())
        replace_file(temporary / "names.json", json.dumps(listing.names).encode())
        meta = Meta(
            format=FORMAT,
            dataset=dataset,
            classes=listing.classes,
            split_sizes=listing.split_sizes,
            shape=list(shape),
            skipped=len(bad),
            sha256={name: sha256_of(temporary / name) for name in CHECKED},
        )
        replace_file(temporary / "meta.json", json.dumps(meta, indent=1).encode())
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


def publish(temporary: Path, folder: Path) -> None:
    """Rename the finished cache to its place; where another builder was first, keep that one."""
    try:
        os.rename(temporary, folder)
        sync(folder.parent)
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
