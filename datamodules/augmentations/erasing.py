"""Random erasing: a rectangle of an image is painted over.

Zhong et al. 2017, https://arxiv.org/abs/1708.04896, with torchvision's shares and ratios.
"""

from __future__ import annotations

import torch
from torch import Tensor

AREA = (0.02, 0.33)  # share of the image
RATIO = (0.3, 3.3)  # height over width
# ImageNet's mean colour, which is 0 once the network has normalised it: torchvision erases after normalising.
FILL = (0.485, 0.456, 0.406)


def erase(images: Tensor, chosen: Tensor, area: Tensor, ratio: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Paint over a rectangle of each chosen image.

    Args:
        images: float [n, 3, S, S].
        chosen: bool [n].
        area, ratio, x, y: uniform draws [n] in [0, 1).
    """
    size = images.shape[-1]
    height, width = rectangle(area, ratio, size)
    rows = within(torch.floor(y * (size - height + 1)), height, size)
    columns = within(torch.floor(x * (size - width + 1)), width, size)
    mask = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
    painted = [torch.where(mask, value, images[:, channel]) for channel, value in enumerate(FILL)]
    return torch.stack(painted, dim=1)


def rectangle(area: Tensor, ratio: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Height and width in pixels, as float [n], from two draws.

    torchvision draws both until they fit, ten times at most; here the ratio is drawn from those that fit, so that each
    image needs a fixed number of draws.
    """
    share = AREA[0] + (AREA[1] - AREA[0]) * area
    low, high = share.clamp(min=RATIO[0]).log(), (1 / share).clamp(max=RATIO[1]).log()
    drawn = torch.exp(low + (high - low) * ratio)
    sides = torch.sqrt(share * drawn), torch.sqrt(share / drawn)
    height, width = (torch.round(side * size).clamp(max=size - 1) for side in sides)
    return height, width


def within(first: Tensor, length: Tensor, size: int) -> Tensor:
    """bool [n, size]: which pixels of a line lie in a stretch."""
    at = torch.arange(size, device=first.device)
    return (at >= first[:, None]) & (at < (first + length)[:, None])
