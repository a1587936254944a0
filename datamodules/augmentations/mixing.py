"""mixup and CutMix: mix each image of a global batch with the one before it.

Zhang et al. 2017, https://arxiv.org/abs/1710.09412, and Yun et al. 2019, https://arxiv.org/abs/1905.04899, as in
torchvision's v2 transforms: one draw for the whole batch, and a partner by position, which is random because the batch
is shuffled. So a rank needs one image besides its own, and nothing from another rank.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor


class Mix(NamedTuple):
    """How the images of a global batch are mixed.

    Attributes:
        own_share: share of each image, and of its label, that is its own.
        box: columns and rows (x1, y1, x2, y2) taken from the partner; None if the pixels are blended.
    """

    own_share: float
    box: tuple[int, int, int, int] | None = None

    def apply(self, images: Tensor, partners: Tensor) -> Tensor:
        """Mix float [n, 3, S, S] with equally many partners."""
        if self.box is None:
            return (partners * (1 - self.own_share)).add_(images * self.own_share)
        x1, y1, x2, y2 = self.box
        mixed = images.clone()
        mixed[..., y1:y2, x1:x2] = partners[..., y1:y2, x1:x2]
        return mixed


def draw_mix(mixup: float, cutmix: float, entropy: tuple[int, int], position: int, size: int) -> Mix | None:
    """How to mix a global batch; None if it is not mixed. With both on, it is one or the other, equally often.

    Args:
        mixup, cutmix: alpha of the Beta distribution from which the share is drawn; 0 switches it off.
        entropy: seed and epoch.
        position: where the global batch starts in the epoch's order.
    """
    if not (mixup or cutmix):
        return None
    # A spawn key, because a zero among the numbers after the seed and the epoch would count as none.
    random = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(position,)))
    which, x, y = random.random(3)
    if not cutmix or (mixup and which < 0.5):
        return Mix(float(random.beta(mixup, mixup)))
    return cut(float(random.beta(cutmix, cutmix)), int(x * size), int(y * size), size)


def cut(own_share: float, x: int, y: int, size: int) -> Mix:
    """CutMix with a box around (x, y) that covers 1 - own_share of the image, minus what lies outside."""
    half = int(0.5 * math.sqrt(1 - own_share) * size)
    x1, x2 = max(x - half, 0), min(x + half, size)
    y1, y2 = max(y - half, 0), min(y + half, size)
    return Mix(1 - (x2 - x1) * (y2 - y1) / size**2, (x1, y1, x2, y2))
