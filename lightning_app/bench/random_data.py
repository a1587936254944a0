"""Random images in the shape of CIFAR-10: the speed of a step does not depend on their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datamodules.augmentation import Augment
from datamodules.datamodule import ImageData, split_indices
from datamodules.packed_cache import FORMAT, Meta, PackedImages

SIDE, CLASSES = 32, 10


def noise(images: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [images, 3, 32, 32] and int64 labels [images]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (images, 3, SIDE, SIDE), dtype=np.uint8), rng.integers(0, CLASSES, images)


def original_augment() -> Augment:
    """The original study's augmentations."""
    return Augment(crop_scale=0.7, rotation=15, pad_crop=0, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)


class NoiseData(ImageData):
    """ImageData over noise."""

    def __init__(self, images: int, batch_size: int, image_size: int) -> None:
        super().__init__(batch_size=batch_size, image_size=image_size, val_fraction=0)
        pixels, labels = noise(images)
        meta = Meta(
            format=FORMAT,
            dataset="noise",
            classes=[str(label) for label in range(CLASSES)],
            split_sizes={"train": images, "val": 0, "test": 0},
            shape=list(pixels.shape),
            skipped=0,
            sha256={},
        )
        self.packed = PackedImages(Path("noise"), pixels, labels, meta)
        self.indices = split_indices(self.packed, val_fraction=0, seed=0)
