"""mixup and CutMix are torchvision's on the same draws, and the same on any number of ranks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp

from datamodules.augmentation import Augment
from datamodules.augmentations.mixing import Mix, cut, draw_mix
from datamodules.batches import BatchMaker, ImageBatch
from datamodules.packed_cache import Meta, PackedImages
from datamodules.sampling import TrainShards

SIDE, TRAIN, CLASSES = 8, 37, 5
MIXES = [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]


@pytest.fixture
def batches() -> Any:
    """Makes a BatchMaker over 37 random images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (TRAIN, 3, SIDE, SIDE), dtype=np.uint8)
    labels = random.integers(0, CLASSES, TRAIN)
    meta = Meta(
        format=1, dataset="noise", classes=[], split_sizes={"train": TRAIN, "val": 0, "test": 0},
        shape=[*images.shape], skipped=0, sha256={},
    )  # fmt: skip
    packed = PackedImages(Path("nowhere"), images, labels, meta)
    indices = {"train": torch.arange(TRAIN)}

    def make(rank: int, world_size: int, epoch: int = 0, **options: Any) -> list[ImageBatch]:
        maker = BatchMaker(packed, indices, 5, Augment(rotation=15, pad_crop=2, **options), torch.device("cpu"))
        shards = TrainShards(TRAIN, 10, rank, world_size, epoch=lambda: epoch)
        return [maker.make(shard, 12) for shard in shards]

    return make


def counted(parts: list[ImageBatch], name: str) -> Tensor:
    return torch.cat([getattr(part, name)[: part.num_valid] for part in parts])


@pytest.mark.parametrize("options", MIXES, ids=str)
@pytest.mark.parametrize("world_size", [2, 3, 4, 7])
def test_mixed_batches_of_all_ranks_together_are_those_of_one(
    batches: Any, world_size: int, options: dict[str, float]
) -> None:
    alone = batches(0, 1, **options)
    ranks = [batches(rank, world_size, **options) for rank in range(world_size)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("images", "labels", "mixed_labels", "indices"):
            assert torch.equal(counted(parts, name), getattr(whole, name)), name
        assert {part.own_share for part in parts} == {whole.own_share}


def test_partners_are_those_of_torchvision_one_place_before(batches: Any) -> None:
    for plain, mixed in zip(batches(0, 1), batches(0, 1, mixup=0.4), strict=True):
        share = mixed.own_share
        expected = plain.images.roll(1, 0).mul_(1.0 - share).add_(plain.images.mul(share))
        torch.testing.assert_close(mixed.images, expected, rtol=0, atol=1e-6)
        assert torch.equal(mixed.labels, plain.labels)
        assert torch.equal(mixed.mixed_labels, plain.labels.roll(1, 0))


def test_each_step_and_epoch_has_a_draw_of_its_own_that_follows_from_seed_epoch_and_position() -> None:
    found = {
        key: draw_mix(0.4, 0.0, key[:2], key[2], 12)
        for key in [(5, 0, 0), (5, 0, 10), (5, 1, 0), (6, 0, 0)]
    }  # fmt: skip
    assert len({mix.own_share for mix in found.values() if mix}) == 4
    assert draw_mix(0.4, 0.0, (5, 0), 10, 12) == found[(5, 0, 10)]
    assert draw_mix(0.0, 0.0, (5, 0), 10, 12) is None


def test_both_take_turns_and_shares_follow_their_distribution() -> None:
    mixes = [draw_mix(0.2, 1.0, (0, 0), position, 32) for position in range(2000)]
    boxes = [mix.box is not None for mix in mixes if mix]
    assert 900 < sum(boxes) < 1100
    shares = np.array([mix.own_share for mix in mixes if mix and mix.box is None])
    # Beta(a, a) has variance 1 / (4 * (2 * a + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * 1.4), rel=0.1)


def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, CLASSES).float()


def soft_labels(mix: Mix, labels: Tensor) -> Tensor:
    return mix.own_share * one_hot(labels) + (1 - mix.own_share) * one_hot(labels.roll(1, 0))


def test_mixup_is_torchvisions_with_its_share() -> None:
    images, labels = torch.rand(6, 3, SIDE, SIDE), torch.arange(6) % CLASSES
    transform = MixUp(num_classes=CLASSES)
    transform.make_params = lambda _: {"lam": 0.3}
    expected_images, expected_labels = transform(images, labels)
    mix = Mix(0.3)
    assert torch.equal(mix.apply(images, images.roll(1, 0)), expected_images)
    torch.testing.assert_close(soft_labels(mix, labels), expected_labels)


@pytest.mark.parametrize(("share", "x", "y"), [(0.3, 4, 5), (0.9, 0, 7), (0.01, 7, 0), (1.0, 3, 3), (0.0, 2, 6)])
def test_cutmix_is_torchvisions_with_its_share_and_place(share: float, x: int, y: int) -> None:
    images, labels = torch.rand(6, 3, SIDE, SIDE), torch.arange(6) % CLASSES
    mix = cut(share, x, y, SIDE)
    transform = CutMix(num_classes=CLASSES)
    half = int(0.5 * math.sqrt(1 - share) * SIDE)  # torchvision/transforms/v2/_augment.py, CutMix.make_params
    box = (max(x - half, 0), max(y - half, 0), min(x + half, SIDE), min(y + half, SIDE))
    adjusted = 1 - (box[2] - box[0]) * (box[3] - box[1]) / SIDE**2
    transform.make_params = lambda _: {"box": box, "lam_adjusted": adjusted}
    expected_images, expected_labels = transform(images, labels)
    assert mix.box is not None
    assert (mix.box[0], mix.box[1], mix.box[2], mix.box[3]) == box
    assert torch.equal(mix.apply(images, images.roll(1, 0)), expected_images)
    torch.testing.assert_close(soft_labels(mix, labels), expected_labels)


def test_images_stay_as_they_were() -> None:
    images = torch.rand(4, 3, SIDE, SIDE)
    before = images.clone()
    for mix in (Mix(0.3), cut(0.4, 2, 6, SIDE)):
        mix.apply(images, images.roll(1, 0))
        assert torch.equal(images, before)
