"""scikit-learn's bundled digits: 1,797 real scans of 8x8 pixels, on every machine without a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datamodules.sources.source import Listing

TEST_FRACTION = 0.2


class Digits:
    """The digits as a source: 1,437 for training and 360 for testing, scikit-learn's split with seed 0."""

    stored_size = 8

    def fingerprint(self) -> dict[str, object]:
        import sklearn

        return {"source": "digits", "test_fraction": TEST_FRACTION, "sklearn": sklearn.__version__}

    def listing(self) -> Listing:
        _, labels, split_sizes = self._rows()
        names = [f"digit {row}" for row in range(len(labels))]
        return Listing([str(digit) for digit in range(10)], labels, names, split_sizes)

    def images(self) -> Iterator[tuple[int, np.ndarray | Exception]]:
        pixels, _, _ = self._rows()
        for row, digit in enumerate(pixels):
            # 0..16 ink on black becomes 0..255, repeated over three channels.
            image = np.repeat((digit * 255 / 16).round().astype(np.uint8)[None], 3, axis=0)
            yield row, image

    def _rows(self) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        # Imported here: scikit-learn takes a second to import, and only this source needs it.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        rows = np.arange(len(labels))
        train, test = train_test_split(rows, test_size=TEST_FRACTION, random_state=0, stratify=labels)
        order = np.concatenate([train, test])
        split_sizes = {"train": len(train), "val": 0, "test": len(test)}
        return pixels[order].reshape(-1, 8, 8), labels[order].astype(np.int64), split_sizes
