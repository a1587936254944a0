"""Holding out part of a set so that every class keeps its share, and so that it stays when images come and go."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from hashlib import blake2b

import numpy as np


def held_out(labels: Sequence[Hashable], names: Sequence[str], fraction: float, seed: str) -> np.ndarray:
    """Which images are held out: of each class, those with the lowest hashes of seed and name.

    An image that is added or removed changes the choice by one or two of its class, and by none of the others.

    Args:
        labels: N classes.
        names: N names.
        fraction: share of each class to hold out, 0 <= fraction < 1; rounded to whole images per class,
            at least one where fraction > 0 and the class has two images or more.
        seed: decides which images.

    Returns:
        bool [N].
    """
    chosen = np.zeros(len(labels), dtype=bool)
    if not fraction:
        return chosen
    key = seed.encode()
    by_class: dict[Hashable, list[tuple[bytes, int]]] = {}
    for place, (label, name) in enumerate(zip(labels, names, strict=True)):
        told = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, key=key).digest()
        by_class.setdefault(label, []).append((told, place))
    for members in by_class.values():
        wanted = min(max(round(len(members) * fraction), 1), len(members) - 1)
        chosen[[place for _, place in sorted(members)[:wanted]]] = True
    return chosen
