"""What a data set must offer to be packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """What a source holds, before a single image is decoded.

    Attributes:
        classes: class names; a label is an index into them.
        labels: int64 [N], rows ordered by split: train, val, test.
        names: N names, for messages and predictions.
        split_sizes: rows per split, adding up to N.
    """

    classes: list[str]
    labels: np.ndarray
    names: list[str]
    split_sizes: dict[str, int]


class Source(Protocol):
    """A data set that can be packed into a cache of square images of side `stored_size`."""

    stored_size: int

    def fingerprint(self) -> dict[str, object]:
        """JSON-able facts that change when the source's content does. Cheap: it is asked at every start."""

    def listing(self) -> Listing:
        """Classes, labels, names and splits."""

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        """Every row once, in any order: its number and its uint8 [3, S, S], or why it cannot be read."""
