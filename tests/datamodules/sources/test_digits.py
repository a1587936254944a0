"""scikit-learn's digits as a source."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_digits

from datamodules.sources.digits import Digits


def test_every_digit_is_in_exactly_one_split_with_its_label() -> None:
    listing = Digits().listing()
    images = np.stack([image for _, image in Digits().images() if isinstance(image, np.ndarray)])
    assert listing.split_sizes == {"train": 1437, "val": 0, "test": 360}
    scans = load_digits()
    expected = sorted((scan.tobytes(), int(label)) for scan, label in zip(scans.data, scans.target, strict=True))
    back = (images[:, 0].astype(float) * 16 / 255).round().reshape(len(images), -1)
    assert sorted((scan.tobytes(), int(label)) for scan, label in zip(back, listing.labels, strict=True)) == expected


def test_images_are_grey_and_use_the_whole_range() -> None:
    images = np.stack([image for _, image in Digits().images() if isinstance(image, np.ndarray)])
    assert (images.shape, images.dtype) == ((1797, 3, 8, 8), np.uint8)
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(images[:, 0], images[:, 1])
    assert np.array_equal(images[:, 0], images[:, 2])


def test_split_is_the_same_each_time_and_has_every_class() -> None:
    first, again = Digits().listing(), Digits().listing()
    assert np.array_equal(first.labels, again.labels)
    assert set(first.labels[1437:]) == set(range(10))
    assert first.classes == [str(digit) for digit in range(10)]


def test_another_scikit_learn_is_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Digits().fingerprint()
    monkeypatch.setattr(sklearn, "__version__", "0.1")
    assert Digits().fingerprint() != before
