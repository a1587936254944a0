"""A held-out part keeps the share of every class."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.holdout import held_out

LABELS = np.repeat([0, 1, 2], [100, 40, 10])[np.random.default_rng(0).permutation(150)]
NAMES = [f"train/{label}/{row}.png" for row, label in enumerate(LABELS)]


def test_every_class_gives_its_share() -> None:
    chosen = held_out(LABELS.tolist(), NAMES, 0.1, seed="3")
    assert np.bincount(LABELS[chosen]).tolist() == [10, 4, 1]
    assert np.bincount(LABELS[~chosen]).tolist() == [90, 36, 9]


def test_one_seed_gives_one_split_and_another_seed_another() -> None:
    first, again, other = (held_out(LABELS.tolist(), NAMES, 0.1, seed).tolist() for seed in ("3", "3", "4"))
    assert first == again
    assert first != other


def test_the_choice_does_not_depend_on_the_order() -> None:
    order = np.random.default_rng(1).permutation(150)
    chosen = held_out(LABELS.tolist(), NAMES, 0.1, "3")
    assert held_out(LABELS[order].tolist(), [NAMES[row] for row in order], 0.1, "3").tolist() == chosen[order].tolist()


@pytest.mark.parametrize("added", range(20))
def test_an_image_more_changes_at_most_one_of_those_held_out(added: int) -> None:
    before = held_out([0] * 100, [f"{row}.png" for row in range(100)], 0.2, "0")
    after = held_out([0] * 101, [*(f"{row}.png" for row in range(100)), f"new {added}.png"], 0.2, "0")
    assert (before != after[:100]).sum() <= 1


def test_an_image_more_changes_nothing_in_another_class() -> None:
    before = held_out(LABELS.tolist(), NAMES, 0.1, "3")
    after = held_out([*LABELS.tolist(), 2], [*NAMES, "train/2/new.png"], 0.1, "3")
    assert before[LABELS < 2].tolist() == after[:150][LABELS < 2].tolist()


def test_fraction_zero_holds_nothing_out() -> None:
    assert not held_out(LABELS.tolist(), NAMES, 0, seed="3").any()


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 1), (0.9, 1)])
def test_a_small_class_gives_one_image_and_keeps_one(fraction: float, expected: int) -> None:
    chosen = held_out([0, 0, 1], ["a", "b", "c"], fraction, seed="0")
    assert chosen[:2].sum() == expected
    assert not chosen[2]


def test_no_labels_split_into_nothing() -> None:
    assert held_out([], [], 0.1, seed="0").tolist() == []


def test_the_choice_is_that_of_earlier_versions_whatever_the_kind_of_labels() -> None:
    names, labels = [f"{row}.png" for row in range(12)], [0, 1, 1] * 4
    expected = [0, 8, 9, 10, 11]
    assert np.flatnonzero(held_out(labels, names, 0.4, "val 3")).tolist() == expected
    assert np.flatnonzero(held_out([f"class {label}" for label in labels], names, 0.4, "val 3")).tolist() == expected
