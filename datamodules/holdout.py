"""Holds out part of a set so that every class keeps its share, and stays stable when images come and go."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def held_out(labels: Sequence[int] | Sequence[str], names: Sequence[str], fraction: float, seed: str) -> np.ndarray:
    """Which of N images are held out, bool [N]: in each class, those with the lowest hashes of seed and name.

    Adding or removing an image changes the choice for one or two images of its class, and for none of the others.

    Args:
        fraction: share of each class to hold out, 0 <= fraction < 1; rounded to whole images per class,
            at least one where fraction > 0 and the class has two images or more.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    if not fraction:
        return chosen
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class_and_hash = np.lexsort((hashes(names, seed), classes))
    for members in np.split(by_class_and_hash, np.cumsum(sizes)[:-1]):
        wanted = min(max(round(len(members) * fraction), 1), len(members) - 1)
        chosen[members[:wanted]] = True
    return chosen


def hashes(names: Sequence[str], seed: str) -> np.ndarray:
    """uint64 [N], the same on every machine."""
    key = seed.encode()
    encoded = (name.encode("utf-8", "surrogateescape") for name in names)
    return np.frombuffer(b"".join(blake2b(each, digest_size=8, key=key).digest() for each in encoded), ">u8")
