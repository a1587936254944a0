"""Colour jitter with one draw per sample.

The four steps are those of torchvision's ColorJitter, which draws once per batch; always in the order brightness,
contrast, saturation, hue (torchvision shuffles it). The tests compare each step with torchvision's functional form,
sample by sample.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.constants import constant

LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of R, G and B in a greyscale image


class Jitter(NamedTuple):
    """How much the colours of n images change; None skips a step.

    Attributes:
        brightness, contrast, saturation: factors [n], 1 changes nothing.
        hue: shifts [n] in turns, 0 changes nothing.
    """

    brightness: Tensor | None = None
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    hue: Tensor | None = None


def jitter(
    images: Tensor,
    brightness: Tensor | None = None,
    contrast: Tensor | None = None,
    saturation: Tensor | None = None,
    hue: Tensor | None = None,
) -> Tensor:
    """Change the colours of each image, float [n, 3, H, W] in [0, 1], by its amounts in a `Jitter`."""
    if brightness is not None:
        images = (images * brightness[:, None, None, None]).clamp_(0, 1)
    if contrast is not None:
        images = blend(images, grey(images).mean(dim=(-3, -2, -1), keepdim=True), contrast)
    if saturation is not None:
        images = blend(images, grey(images), saturation)
    if hue is not None:
        images = turn_hue(images, hue)
    return images


def blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """share * images + (1 - share) * other, with one share [n] per image, clamped to [0, 1]."""
    return torch.lerp(other, images, share[:, None, None, None]).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """Luma, [n, 1, H, W]."""
    red, green, blue = (images * constant(LUMA, images)[:, None, None]).unbind(-3)
    return (red + green).add_(blue).unsqueeze(-3)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of each image, in HSV, by `turns` [n]."""
    value = images.amax(dim=-3)
    chroma = value - images.amin(dim=-3)
    red, green, blue = images.unbind(-3)
    # A masked_fill, because `where` would make a tensor of a number.
    safe = chroma.masked_fill(chroma == 0, 1)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, ((blue - red) / safe).add_(2), ((red - green) / safe).add_(4)),
    )
    return hsv_to_rgb(sixths.add_(6 * turns[:, None, None]), chroma, value)


def hsv_to_rgb(sixths: Tensor, chroma: Tensor, value: Tensor) -> Tensor:
    """Colours from hue (in sixths of a turn), chroma and value, each [n, H, W]: [n, 3, H, W].

    A channel is value - chroma * clamp(min(k, 4 - k), 0, 1) with k = (n + sixths) mod 6 and n = 5, 3, 1
    (https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative).
    """
    k = (constant((5, 3, 1), value)[:, None, None] + sixths.unsqueeze(-3)).remainder_(6)
    return value.unsqueeze(-3) - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma.unsqueeze(-3))
