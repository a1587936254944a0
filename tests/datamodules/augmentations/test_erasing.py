"""Random erasing paints over a rectangle with torchvision's shares and ratios, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.augmentations.erasing import AREA, FILL, RATIO, erase, place, rectangle

SIDE = 40


def draws(count: int, columns: int = 4) -> list[Tensor]:
    drawn = torch.rand(count, columns, generator=torch.Generator().manual_seed(0))
    drawn[0], drawn[1] = 0, 1 - 2**-24
    return list(drawn.unbind(1))


def test_a_rectangle_is_erased_as_torchvision_erases_it() -> None:
    images = torch.rand(20, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    area, ratio, x, y = draws(20)
    chosen = torch.arange(20) % 3 > 0
    found = erase(images, place(SIDE, chosen, area, ratio, x, y))
    height, width = (side.long().tolist() for side in rectangle(area, ratio, SIDE))
    fill = torch.tensor(FILL)[:, None, None]
    for index in range(20):
        h, w = height[index], width[index]
        top, left = int(y[index] * (SIDE - h + 1)), int(x[index] * (SIDE - w + 1))
        expected = tv.erase(images[index], top, left, h, w, fill) if chosen[index] else images[index]
        assert torch.equal(found[index], expected)


def test_rectangles_keep_torchvisions_shares_and_ratios_and_fit() -> None:
    area, ratio, _, _ = draws(5000)
    height, width = rectangle(area, ratio, 1000)
    share = height * width / 1000**2
    assert AREA[0] - 2e-3 < share.min() < AREA[0] + 0.01
    assert AREA[1] - 0.01 < share.max() < AREA[1] + 2e-3
    found = height / width
    assert RATIO[0] * 0.98 < found.min() < RATIO[0] * 1.1
    assert RATIO[1] * 0.9 < found.max() < RATIO[1] * 1.02
    assert max(height.max(), width.max()) < 1000
