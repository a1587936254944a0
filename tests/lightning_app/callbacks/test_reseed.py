"""What dropout draws is a function of seed, epoch, batch and rank."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lightning_app.callbacks.reseed import Reseed

KEY = {"seed": 3, "epoch": 2, "batch": 5, "rank": 1}


def mask(seed: int, epoch: int, batch: int, rank: int) -> torch.Tensor:
    """What a dropout of a half keeps at a step."""
    trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    Reseed(seed).on_train_batch_start(trainer, pl_module=None, batch=None, batch_idx=batch)  # type: ignore[arg-type]  # unused
    return F.dropout(torch.ones(256), 0.5)


def test_the_same_key_gives_the_same_mask_whatever_was_drawn_before() -> None:
    first = mask(**KEY)
    torch.rand(17)
    assert torch.equal(mask(**KEY), first)


@pytest.mark.parametrize("part", KEY)
def test_every_part_of_the_key_changes_the_mask(part: str) -> None:
    assert not torch.equal(mask(**KEY), mask(**(KEY | {part: KEY[part] + 1})))


def test_parts_of_the_key_cannot_be_exchanged() -> None:
    masks = [mask(*numbers) for numbers in ((0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0))]
    assert len({tuple(found.tolist()) for found in masks}) == 4
