"""TrivialAugment (wide): one operation per image, of a strength drawn from 31 levels.

Müller and Hutter 2021, https://arxiv.org/abs/2103.10158, with torchvision's operations and ranges. Sharpness and
Equalize are left out: they need a pixel's neighbours or the image's histogram, and so separate passes. The geometric
operations become maps that are resampled together with all others, where torchvision resamples each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.augmentations.color_jitter import Jitter, jitter
from datamodules.geometry import identity, rotate

LEVELS = 31
# The largest magnitude of each; None if there is nothing to choose or it follows from the level.
OPERATIONS = {
    "Identity": None,
    "ShearX": 0.99,
    "ShearY": 0.99,
    "TranslateX": 32.0,  # pixels of the stored image
    "TranslateY": 32.0,
    "Rotate": 135.0,  # degrees
    "Brightness": 0.99,
    "Color": 0.99,
    "Contrast": 0.99,
    "Posterize": None,
    "Solarize": None,
    "AutoContrast": None,
}
INDEX = {name: index for index, name in enumerate(OPERATIONS)}


class Choice(NamedTuple):
    """The operation for each image.

    Attributes:
        operation: int64 [n], numbers of OPERATIONS.
        level: float [n], from 0 to 1 in 30 steps.
        sign: float [n], 1 or -1.
    """

    operation: Tensor
    level: Tensor
    sign: Tensor

    def is_(self, name: str) -> Tensor:
        """bool [n]."""
        return self.operation == INDEX[name]

    def magnitude(self, name: str) -> Tensor:
        """float [n], 0 where another operation was chosen."""
        most = OPERATIONS[name]
        assert most is not None
        return torch.where(self.is_(name), self.sign * self.level * most, 0)


def choose(operation: Tensor, level: Tensor, sign: Tensor) -> Choice:
    """From three uniform draws [n] in [0, 1)."""
    levels = torch.floor(level * LEVELS) / (LEVELS - 1)
    return Choice((operation * len(OPERATIONS)).long(), levels, torch.where(sign < 0.5, 1.0, -1.0))


def geometry(choice: Choice, stored_size: int) -> Tensor:
    """The geometric operations, as maps from output to input: float [n, 3, 3]."""
    theta = identity(choice.level)
    shear_x, shear_y = choice.magnitude("ShearX"), choice.magnitude("ShearY")
    theta[:, 0, 1], theta[:, 1, 0] = shear_x, shear_y
    pixel = 2 / stored_size
    theta[:, 0, 2] = shear_x - torch.trunc(choice.magnitude("TranslateX")) * pixel  # sheared about the upper left
    theta[:, 1, 2] = shear_y - torch.trunc(choice.magnitude("TranslateY")) * pixel
    return theta @ rotate(torch.deg2rad(choice.magnitude("Rotate")))


class Recoloring(NamedTuple):
    """The colour operations of n images.

    Attributes:
        colors: changes nothing if another operation was chosen.
        posterized, solarized, contrasted: bool [n, 1, 1, 1], whether that was chosen.
        levels: float [n, 1, 1, 1], of a posterized channel.
        threshold: float [n, 1, 1, 1], from which pixels are inverted.
    """

    colors: Jitter
    posterized: Tensor
    levels: Tensor
    solarized: Tensor
    threshold: Tensor
    contrasted: Tensor


def recoloring(choice: Choice) -> Recoloring:
    """The colour changes of each image."""
    colors = Jitter(
        brightness=1 + choice.magnitude("Brightness"),
        contrast=1 + choice.magnitude("Contrast"),
        saturation=1 + choice.magnitude("Color"),
    )
    levels = 2 ** (8 - torch.round(choice.level * 6))  # 8 bits at the lowest level, 2 at the highest
    posterized, solarized, contrasted, levels, threshold = (
        each[:, None, None, None]
        for each in (
            *(choice.is_(name) for name in ("Posterize", "Solarize", "AutoContrast")),
            *(levels, 1 - choice.level),
        )
    )
    return Recoloring(colors, posterized, levels, solarized, threshold, contrasted)


def recolor(images: Tensor, how: Recoloring) -> Tensor:
    """Float [n, 3, H, W] in [0, 1] to the same."""
    images = jitter(images, *how.colors)
    posterized = torch.minimum(torch.floor(images * how.levels), how.levels - 1) / how.levels
    solarized = torch.where(images >= how.threshold, 1 - images, images)
    images = torch.where(how.posterized, posterized, images)
    images = torch.where(how.solarized, solarized, images)
    return torch.where(how.contrasted, autocontrast(images), images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to [0, 1]; a constant channel does not change."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    flat = low == high
    span = (high - low).masked_fill_(flat, 1)
    return ((images - low.masked_fill_(flat, 0)) / span).clamp_(0, 1)
