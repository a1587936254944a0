"""Random erasing: paints over a rectangle of an image.

Zhong et al. 2017, https://arxiv.org/abs/1708.04896, with torchvision's shares and ratios.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.constants import constant

AREA = (0.02, 0.33)  # share of the image
RATIO = (0.3, 3.3)  # height over width
# ImageNet's mean colour, which becomes 0 when the network normalises it: torchvision erases after normalising.
FILL = (0.485, 0.456, 0.406)


class Erasure(NamedTuple):
    """The rectangles of n images.

    Attributes:
        first: float [n, 2], row and column of the first erased pixel.
        last: float [n, 2], row and column after the last one; 0 for an image that does not change.
    """

    first: Tensor
    last: Tensor


def place(size: int, chosen: Tensor, area: Tensor, ratio: Tensor, x: Tensor, y: Tensor) -> Erasure:
    """A rectangle in each chosen image.

    Args:
        size: side of the images.
        chosen: bool [n].
        area, ratio, x, y: uniform draws [n] in [0, 1).
    """
    sides = torch.stack(rectangle(area, ratio, size), dim=1)
    first = torch.floor(torch.stack([y, x], dim=1) * (size - sides + 1))
    return Erasure(first, (first + sides) * chosen[:, None])


def erase(images: Tensor, erased: Erasure) -> Tensor:
    """Paint over float [n, 3, S, S]."""
    at = constant(tuple(range(images.shape[-1])), images)
    rows, columns = ((at >= erased.first[:, :, None]) & (at < erased.last[:, :, None])).unbind(1)
    mask = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(mask, constant(FILL, images)[:, None, None], images)


def rectangle(area: Tensor, ratio: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Height and width in pixels, as float [n], from two draws.

    torchvision draws both until they fit, at most ten times; here the ratio is drawn from those that fit, so that each
    image needs a fixed number of draws.
    """
    share = AREA[0] + (AREA[1] - AREA[0]) * area
    low, high = share.clamp(min=RATIO[0]).log(), (1 / share).clamp(max=RATIO[1]).log()
    drawn = torch.exp(low + (high - low) * ratio)
    sides = torch.sqrt(share * drawn), torch.sqrt(share / drawn)
    height, width = (torch.round(side * size).clamp(max=size - 1) for side in sides)
    return height, width
