"""Small image folders for the tests of the data."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SPLIT_SIZES = {"train": 3, "test": 2}


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes <name>/<split>/<class>/<n>.png with as many images a class as `splits` says."""

    def make(
        name: str = "photos",
        splits: dict[str, int] | None = None,
        classes: tuple[str, ...] = ("cat", "dog"),
        side: int = 8,
    ) -> Path:
        root = tmp_path / name
        for split, count in (SPLIT_SIZES if splits is None else splits).items():
            for label in classes:
                (root / split / label).mkdir(parents=True)
                for number in range(count):
                    noise_image(f"{split}/{label}/{number}", side).save(root / split / label / f"{number}.png")
        return root

    return make


def noise_image(name: str, side: int) -> Image.Image:
    """Random pixels that depend on the name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
