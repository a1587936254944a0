"""Holding out part of a set so that every class keeps its share."""

from __future__ import annotations

import numpy as np


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into a kept and a held-out part, class by class.

    Args:
        labels: int64 [N].
        fraction: share of each class to hold out, 0 <= fraction < 1; rounded to whole images per class,
            at least one where fraction > 0 and the class has two images or more.
        seed: decides which images.

    Returns:
        (kept, held_out): two disjoint ascending int64 arrays of row numbers that together are all rows.
    """
    rng = np.random.default_rng(seed)
    held_out: list[np.ndarray] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        wanted = max(round(len(rows) * fraction), 1 if fraction > 0 else 0)
        held_out.append(rng.permutation(rows)[: min(wanted, len(rows) - 1)])
    held = np.sort(np.concatenate(held_out)) if held_out else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), held), held
