"""A held-out part keeps the share of every class."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.holdout import stratified_split

LABELS = np.repeat([0, 1, 2], [100, 40, 10])[np.random.default_rng(0).permutation(150)]


def counts(rows: np.ndarray) -> list[int]:
    return np.bincount(LABELS[rows], minlength=3).tolist()


def test_every_class_gives_its_share() -> None:
    kept, held_out = stratified_split(LABELS, 0.1, seed=3)
    assert counts(held_out) == [10, 4, 1]
    assert counts(kept) == [90, 36, 9]


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.99])
def test_parts_are_disjoint_ascending_and_complete(fraction: float) -> None:
    kept, held_out = stratified_split(LABELS, fraction, seed=3)
    assert sorted([*kept, *held_out]) == list(range(len(LABELS)))
    assert all((np.diff(part) > 0).all() for part in (kept, held_out))


def test_one_seed_gives_one_split_and_another_seed_another() -> None:
    first, again, other = (stratified_split(LABELS, 0.1, seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_fraction_zero_holds_nothing_out() -> None:
    kept, held_out = stratified_split(LABELS, 0, seed=3)
    assert kept.tolist() == list(range(len(LABELS)))
    assert held_out.tolist() == []
    assert held_out.dtype == np.int64


def test_a_small_class_gives_one_image_and_keeps_one() -> None:
    labels = np.array([0, 0, 1])
    assert labels[stratified_split(labels, 0.1, seed=0)[1]].tolist() == [0]
    assert labels[stratified_split(labels, 0.9, seed=0)[1]].tolist() == [0]


def test_no_labels_split_into_nothing() -> None:
    kept, held_out = stratified_split(np.empty(0, dtype=np.int64), 0.1, seed=0)
    assert (len(kept), len(held_out)) == (0, 0)
