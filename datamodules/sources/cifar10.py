"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32x32 pixels in ten classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodules.errors import DataError
from datamodules.sources.source import Listing
from lightning_app.downloads import impatient_sockets

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIZE = 32
OFFICIAL_ARCHIVE = "cifar-10-python.tar.gz"


class CIFAR10:
    """The official edition, downloaded and verified (MD5) by torchvision.

    Args:
        root: the folder that contains, or will contain, `cifar-10-batches-py/`.

    Raises:
        DataError: from `listing` and `images`: the files are missing and cannot be downloaded.
    """

    stored_size = SIZE

    def __init__(self, root: Path) -> None:
        self.root = root

    def fingerprint(self) -> dict[str, object]:
        return {"source": "cifar10", "edition": "official"}

    def listing(self) -> Listing:
        labels = np.concatenate([self._load(train).targets for train in (True, False)]).astype(np.int64)
        names = [f"train/{row}" for row in range(50_000)] + [f"test/{row}" for row in range(10_000)]
        return Listing(CLASSES, labels, names, {"train": 50_000, "val": 0, "test": 10_000})

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        pixels = np.concatenate([self._load(train).data for train in (True, False)])
        yield from enumerate(pixels.transpose(0, 3, 1, 2))

    def _load(self, train: bool):
        from torchvision import datasets

        try:
            with impatient_sockets():
                return datasets.CIFAR10(str(self.root), train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"CIFAR-10 is not in {self.root} and could not be downloaded ({error}). On a cluster, run `python -m "
                "lightning_app prepare` with the same options on a login node, once, in a folder that the compute "
                f"nodes see. Or fetch {datasets.CIFAR10.url} where there is a network, and unpack it into "
                f"{self.root}/; or set data.root to a .zip of train/<class>/ and test/<class>/ images."
            ) from error
