"""TrivialAugment (wide): for each image one operation, of a strength drawn from 31 levels.

Müller and Hutter 2021, https://arxiv.org/abs/2103.10158, with torchvision's operations and ranges. Sharpness and
Equalize are left out: they need a pixel's neighbours or the image's histogram, and so passes of their own. The
geometric operations become maps that are resampled together with all others, where torchvision resamples each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.color_jitter import jitter
from datamodules.geometry import identity, rotate

LEVELS = 31
# The greatest magnitude of each; None where there is nothing to choose or it is made from the level.
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
    """What is done to each image.

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


def recolor(images: Tensor, choice: Choice) -> Tensor:
    """The operations on colours: float [n, 3, H, W] in [0, 1] to the same."""
    images = jitter(
        images,
        brightness=1 + choice.magnitude("Brightness"),
        contrast=1 + choice.magnitude("Contrast"),
        saturation=1 + choice.magnitude("Color"),
    )
    # 8 bits at the lowest level, 2 at the highest.
    levels = (2 ** (8 - torch.round(choice.level * 6)))[:, None, None, None]
    posterized = torch.minimum(torch.floor(images * levels), levels - 1) / levels
    solarized = torch.where(images >= 1 - choice.level[:, None, None, None], 1 - images, images)
    for name, changed in (("Posterize", posterized), ("Solarize", solarized), ("AutoContrast", autocontrast(images))):
        images = torch.where(choice.is_(name)[:, None, None, None], changed, images)
    return images


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to [0, 1]; a channel of one value stays."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    flat = low == high
    return ((images - torch.where(flat, 0, low)) / torch.where(flat, 1, high - low)).clamp(0, 1)
