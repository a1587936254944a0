"""The augmentation of a batch: colour at the stored size, one resample to the training size, then erasing.

Every sample has its own draws, uniform numbers in [0, 1) from `sampling`; everything here is a pure function of them,
on whichever device the images are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.augmentations import trivial_augment as trivial
from datamodules.augmentations.color_jitter import Jitter, jitter
from datamodules.augmentations.erasing import Erasure, erase, place
from datamodules.augmentations.mixing import Mix, draw_mix
from datamodules.errors import DataError
from datamodules.geometry import affine_resample, compose, crop, flip, rotate, shift, straight_resample

# Columns of the draws. Each augmentation has its own columns, so switching one off does not change the others.
SCALE, RATIO, CROP_X, CROP_Y, FLIP, ANGLE, SHIFT_X, SHIFT_Y, BRIGHTNESS, CONTRAST, SATURATION, HUE = range(12)
OPERATION, LEVEL, SIGN, ERASE, ERASE_AREA, ERASE_RATIO, ERASE_X, ERASE_Y = range(12, 20)
DRAWS = 20
FIRST_DRAWS = 12  # drawn separately, so that later columns left every recipe unchanged
PROBABILITY = (lambda value: 0 <= value <= 1, "a probability between 0 and 1")
SPREAD = (lambda value: 0 <= value <= 1, "a spread between 0 and 1")
ALPHA = (lambda value: 0 <= value < math.inf, "0 or more (0.2 and 1 are usual)")
# Which values an option may have, and what to expect instead of others. NaN fails every comparison.
VALID: dict[str, tuple[Callable[[float], bool], str]] = {
    "crop_scale": (lambda value: 0 < value <= 1, "a share of the area in (0, 1]"),
    "crop_ratio": (lambda value: value >= 1, "the widest ratio, 1 or more"),
    "flip": PROBABILITY,
    "rotation": (lambda value: 0 <= value <= 180, "degrees between 0 and 180"),
    "pad_crop": (lambda value: value >= 0, "0 pixels or more"),
    **dict.fromkeys(("brightness", "contrast", "saturation"), SPREAD),
    "hue": (lambda value: 0 <= value <= 0.5, "a shift between 0 and 0.5 turns"),
    "erasing": PROBABILITY,
    **dict.fromkeys(("mixup", "cutmix"), ALPHA),
}
SMALL = 64  # stored pixels; straight_resample's work grows with them, and beyond this grid_sample is faster


class Changes(NamedTuple):
    """What n images' draws amount to; computed for a whole epoch at once, so that a batch needs few kernels.

    Attributes:
        colors: of the colour jitter.
        trivial: TrivialAugment's colour operations; None without it.
        theta: float32 [n, 2, 3], from output to input coordinates in [-1, 1].
        erased: the rectangles of random erasing; None without it.
    """

    colors: Jitter
    trivial: trivial.Recoloring | None
    theta: Tensor
    erased: Erasure | None


@dataclass
class Augment:
    """The augmentation of a training image; a zero or null switches a step off.

    Attributes:
        crop_scale: smallest share of the area that a random resized crop keeps; the largest is 1.
        crop_ratio: widest aspect ratio of that crop; the narrowest is its inverse.
        flip: probability of a horizontal flip.
        rotation: largest angle in degrees, in both directions.
        pad_crop: largest shift in stored pixels, in all directions; the edge is filled by reflection.
        brightness, contrast, saturation: the factor is drawn from 1 - value to 1 + value.
        hue: the shift is drawn from -value to value, in turns of the colour circle, at most 0.5.
        trivial_augment: one more operation per image, of random strength (TrivialAugment's, except two of them).
        erasing: probability that a rectangle is painted over with the mean colour, 2 to 33% of the image.
        mixup: blends each image and its label with another one of its batch; the share is drawn from Beta(value,
            value). The training loss is then that of soft labels, and higher than the validation loss.
        cutmix: takes a box of each image from another one, and the labels in proportion; from Beta(value, value). With
            mixup, each batch uses one of the two.
    """

    crop_scale: float = 1.0
    crop_ratio: float = 4 / 3
    flip: float = 0.5
    rotation: float = 0.0
    pad_crop: int = 4
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    trivial_augment: bool = False
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, (is_valid, expected) in VALID.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise DataError(f"data.augment.{name} is {value}; expected {expected}.")

    def __call__(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Augment and resample.

        Args:
            images: float32 [n, 3, S, S] in [0, 1].
            draws: float32 [n, DRAWS], uniform in [0, 1).
            size: side of the result.

        Returns:
            float32 [n, 3, size, size] in [0, 1].
        """
        return self.apply(images, self.changes(draws, images.shape[-1], size), size)

    def changes(self, draws: Tensor, stored_size: int, size: int) -> Changes:
        """The changes to each image of side `stored_size` on its way to `size`, from float32 [n, DRAWS]."""
        recoloring = trivial.recoloring(self.choose(draws)) if self.trivial_augment else None
        erased = None
        if self.erasing:
            columns = (draws[:, column] for column in (ERASE_AREA, ERASE_RATIO, ERASE_X, ERASE_Y))
            erased = place(size, draws[:, ERASE] < self.erasing, *columns)
        return Changes(self.colors(draws), recoloring, self.theta(draws, stored_size), erased)

    def apply(self, images: Tensor, changes: Changes, size: int) -> Tensor:
        """`__call__`, given the changes."""
        images = jitter(images, *changes.colors)
        if changes.trivial is not None:
            images = trivial.recolor(images, changes.trivial)
        turns = bool(self.rotation) or self.trivial_augment
        if images.device.type == "cpu" and not turns and images.shape[-1] <= SMALL:
            images = straight_resample(images, changes.theta, size)
        else:
            images = affine_resample(images, changes.theta, size)
        return images if changes.erased is None else erase(images, changes.erased)

    def draw_mix(self, seed: int, epoch: int, position: int, size: int) -> Mix | None:
        """How to mix the global batch that starts at a position, at side `size`; None if it is not mixed."""
        return draw_mix(self.mixup, self.cutmix, (seed, epoch), position, size)

    def colors(self, draws: Tensor) -> Jitter:
        """The amounts of the colour jitter."""

        def spread(column: int) -> Tensor:
            return draws[:, column] * 2 - 1

        return Jitter(
            brightness=1 + self.brightness * spread(BRIGHTNESS) if self.brightness else None,
            contrast=1 + self.contrast * spread(CONTRAST) if self.contrast else None,
            saturation=1 + self.saturation * spread(SATURATION) if self.saturation else None,
            hue=self.hue * spread(HUE) if self.hue else None,
        )

    def choose(self, draws: Tensor) -> trivial.Choice:
        """TrivialAugment's operation for each image."""
        return trivial.choose(draws[:, OPERATION], draws[:, LEVEL], draws[:, SIGN])

    def theta(self, draws: Tensor, stored_size: int) -> Tensor:
        """The geometric part: float32 [n, 2, 3], from output to input coordinates in [-1, 1].

        In the order in which an image goes through them: shifted by pad_crop, cropped, flipped, rotated, and
        TrivialAugment's.
        """
        maps = []
        if self.pad_crop:
            # A slice: with a list of columns, a GPU would wait for the list.
            pixels = torch.floor(draws[:, SHIFT_X : SHIFT_Y + 1] * (2 * self.pad_crop + 1)) - self.pad_crop
            maps.append(shift(pixels * 2 / stored_size))
        if self.crop_scale < 1:
            maps.append(crop(*self.window(draws), draws[:, CROP_X], draws[:, CROP_Y]))
        if self.flip:
            maps.append(flip(draws[:, FLIP] < self.flip))
        if self.rotation:
            maps.append(rotate(torch.deg2rad(self.rotation * (draws[:, ANGLE] * 2 - 1))))
        if self.trivial_augment:
            maps.append(trivial.geometry(self.choose(draws), stored_size))
        return compose(maps, like=draws)

    def window(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Width and height of the crop, as shares of the image's side.

        torchvision draws area and ratio until the window fits, at most ten times; here the ratio is drawn from those
        that fit, so that each sample needs a fixed number of draws.
        """
        area = self.crop_scale + (1 - self.crop_scale) * draws[:, SCALE]
        widest = torch.clamp(1 / area, max=self.crop_ratio).log()
        ratio = torch.exp(widest * (draws[:, RATIO] * 2 - 1))
        return torch.sqrt(area * ratio), torch.sqrt(area / ratio)
