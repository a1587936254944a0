"""A separate process that packs a few images, and stops half-way until its standard input is closed.

Prints `stopped half-way` when it stops, every log line, and finally the checksum of the cache or the DataError.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import resource
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.cache_building import open_or_pack
from datamodules.errors import DataError
from datamodules.sources.source import Listing

say = partial(print, flush=True)


class HalfWay:
    """Random images; if it should stop, it waits after half of them for the end of standard input."""

    def __init__(self, rows: int, stored_size: int, stop: bool) -> None:
        self.rows, self.stored_size, self.stop = rows, stored_size, stop

    def fingerprint(self) -> dict[str, object]:
        return {"source": "half_way", "rows": self.rows}

    def listing(self) -> Listing:
        names = [f"image {row}" for row in range(self.rows)]
        splits = {"train": self.rows, "val": 0, "test": 0}
        return Listing(["even", "odd"], np.arange(self.rows) % 2, names, splits)

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        rng = np.random.default_rng(0)
        for row in range(self.rows):
            if self.stop and row == self.rows // 2:
                say("stopped half-way")
                sys.stdin.read()
            yield row, rng.integers(0, 256, (3, self.stored_size, self.stored_size), dtype=np.uint8)


def no_locks(*_: object) -> None:
    """What flock does on a file system that is mounted without locks."""
    raise OSError(errno.ENOLCK, "No locks available")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache_dir", type=Path)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--stored_size", type=int, default=4)
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--no_locks", action="store_true")
    parser.add_argument("--largest_file", type=int)
    args = parser.parse_args()
    if args.no_locks:
        fcntl.flock = no_locks
    if args.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (args.largest_file, args.largest_file))
    source = HalfWay(args.rows, args.stored_size, args.stop)
    try:
        packed = open_or_pack(source, "noise", args.cache_dir, skip_bad=False, log=say, progress=False)
    except DataError as error:
        say(f"DataError: {error}")
        return 1
    say(packed.meta["sha256"]["images.npy"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
