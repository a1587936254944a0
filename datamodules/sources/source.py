"""The interface of a data set that can be packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """What a source contains, before any image is decoded.

    Attributes:
        classes: class names; a label is an index into them.
        labels: int64 [N], rows ordered by split: train, val, test.
        names: N names, for messages and predictions; with the seed, they decide what is held out for validation.
        split_sizes: rows per split, adding up to N.
        notes: what was decided about them that a user should know, a sentence each.
        ignored: names that are not rows, each with the reason.
    """

    classes: list[str]
    labels: np.ndarray
    names: list[str]
    split_sizes: dict[str, int]
    notes: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


class Source(Protocol):
    """A data set that can be packed into a cache of square images.

    It checks its files once, and reports what it saw then.
    """

    @property
    def stored_size(self) -> int:
        """Side of the stored images, in pixels."""

    def fingerprint(self) -> dict[str, object]:
        """JSON-able facts that change when the images or their storage change. Cheap: it runs at every start."""

    def listing(self) -> Listing:
        """Classes, labels, names and splits."""

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        """Every row once, in any order: its number and its uint8 [3, S, S], or why it cannot be read."""
