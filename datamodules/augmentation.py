"""The augmentations of a batch: colour at the stored size, then one resample to the training size.

Every sample has its own draws, uniform numbers in [0, 1) that come in from outside (`shards`); what is
done with them here is a pure function, on whichever device the images are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.color import jitter
from datamodules.errors import DataError
from datamodules.geometry import affine_resample, compose, crop, flip, rotate, shift, straight_resample

# Columns of the draws. Each augmentation owns its columns, so switching one off leaves the others as they were.
SCALE, RATIO, CROP_X, CROP_Y, FLIP, ANGLE, SHIFT_X, SHIFT_Y, BRIGHTNESS, CONTRAST, SATURATION, HUE = range(12)
DRAWS = 12
SMALL = 64  # stored pixels; the work of straight_resample grows with them, and beyond it grid_sample is quicker


@dataclass
class Augment:
    """What is done to a training image; a zero or null switches a step off.

    Attributes:
        crop_scale: least share of the area that a random resized crop keeps; the most is 1.
        crop_ratio: widest aspect ratio of that crop; the narrowest is its inverse.
        flip: chance of a horizontal flip.
        rotation: largest angle in degrees, to both sides.
        pad_crop: largest shift in stored pixels, to all sides; the edge is filled by reflection.
        brightness, contrast, saturation: the factor is drawn from 1 - value to 1 + value.
        hue: the shift is drawn from -value to value, in turns of the colour circle, at most 0.5.
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

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise DataError(f"data.augment.crop_scale is {self.crop_scale}; expected a share of the area in (0, 1].")
        if not self.crop_ratio >= 1:
            raise DataError(f"data.augment.crop_ratio is {self.crop_ratio}; expected the widest ratio, 1 or more.")
        if not 0 <= self.flip <= 1:
            raise DataError(f"data.augment.flip is {self.flip}; expected a chance between 0 and 1.")
        if not 0 <= self.rotation <= 180:
            raise DataError(f"data.augment.rotation is {self.rotation}; expected degrees between 0 and 180.")
        if not self.pad_crop >= 0:
            raise DataError(f"data.augment.pad_crop is {self.pad_crop}; expected 0 pixels or more.")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"data.augment.{name} is {getattr(self, name)}; expected a spread between 0 and 1.")
        if not 0 <= self.hue <= 0.5:
            raise DataError(f"data.augment.hue is {self.hue}; expected a shift between 0 and 0.5 turns.")

    def __call__(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Augment and resample.

        Args:
            images: float32 [n, 3, S, S] in [0, 1].
            draws: float32 [n, DRAWS], uniform in [0, 1).
            size: side of the result.

        Returns:
            float32 [n, 3, size, size] in [0, 1].
        """
        images, theta = self.recolor(images, draws), self.theta(draws, images.shape[-1])
        if images.device.type == "cpu" and not self.rotation and images.shape[-1] <= SMALL:
            return straight_resample(images, theta, size)
        return affine_resample(images, theta, size)

    def recolor(self, images: Tensor, draws: Tensor) -> Tensor:
        """The colour part."""

        def spread(column: int) -> Tensor:
            return draws[:, column] * 2 - 1

        return jitter(
            images,
            brightness=1 + self.brightness * spread(BRIGHTNESS) if self.brightness else None,
            contrast=1 + self.contrast * spread(CONTRAST) if self.contrast else None,
            saturation=1 + self.saturation * spread(SATURATION) if self.saturation else None,
            hue=self.hue * spread(HUE) if self.hue else None,
        )

    def theta(self, draws: Tensor, stored_size: int) -> Tensor:
        """The geometric part: float32 [n, 2, 3], from output to input coordinates in [-1, 1].

        In reading order of an image's way: shifted by pad_crop, cropped, flipped, rotated.
        """
        maps = []
        if self.pad_crop:
            pixels = torch.floor(draws[:, [SHIFT_X, SHIFT_Y]] * (2 * self.pad_crop + 1)) - self.pad_crop
            maps.append(shift(pixels * 2 / stored_size))
        if self.crop_scale < 1:
            maps.append(crop(*self.window(draws), draws[:, CROP_X], draws[:, CROP_Y]))
        if self.flip:
            maps.append(flip(draws[:, FLIP] < self.flip))
        if self.rotation:
            maps.append(rotate(torch.deg2rad(self.rotation * (draws[:, ANGLE] * 2 - 1))))
        return compose(maps, like=draws)

    def window(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Width and height of the crop, as shares of the image's side.

        torchvision draws area and ratio until the window fits, ten times at most; here the ratio is
        drawn from those that fit, so that each sample needs a fixed number of draws.
        """
        area = self.crop_scale + (1 - self.crop_scale) * draws[:, SCALE]
        widest = torch.clamp(1 / area, max=self.crop_ratio).log()
        ratio = torch.exp(widest * (draws[:, RATIO] * 2 - 1))
        return torch.sqrt(area * ratio), torch.sqrt(area / ratio)
