"""From a shard to a batch of pixels, on the device: gather, augment, resample."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.augment import Augment
from datamodules.geometry import resample
from datamodules.packed import PackedImages
from datamodules.shards import EpochDraws, Shard, draw_epoch

# Share of the free memory of a GPU that the data set may take; the rest is the model's.
RESIDENT_SHARE = 0.25


class ImageBatch(NamedTuple):
    """What a model's step gets.

    Attributes:
        images: float32 [n, 3, size, size] in [0, 1]; normalising is the model's.
        labels: int64 [n].
        rows: int64 [n], where the images lie in the packed cache.
        counted: leading images that count; the rest is padding.
        global_size: images that count in the global batch, over all ranks.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    counted: int
    global_size: int


class BatchMaker:
    """Makes the batches of a data set on one device.

    Args:
        packed: the open cache.
        rows: for each split, the int64 row numbers it consists of.
        seed: with the epoch, decides order and draws.
        augment: applied to the split `train`.
        device: where batches are made. On a GPU with room for it, the data set moves there once.
    """

    def __init__(
        self, packed: PackedImages, rows: dict[str, Tensor], seed: int, augment: Augment, device: torch.device
    ) -> None:
        self.seed, self.augment, self.device = seed, augment, device
        self.rows = {split: numbers.to(device) for split, numbers in rows.items()}
        images = torch.from_numpy(packed.images)
        self.images = images.to(device) if fits(images, device) else images
        self.labels = torch.from_numpy(packed.labels).to(device)
        self.epoch = -1
        self.drawn: EpochDraws

    def make(self, shard: Shard, size: int) -> ImageBatch:
        """The pixels and labels of a shard, at side `size`."""
        if shard.split == "train":
            return self._train(shard, size)
        return self._eval(shard, size)

    def _train(self, shard: Shard, size: int) -> ImageBatch:
        self._enter(shard.epoch)
        span = span_of(shard)
        rows = self.rows["train"][self.drawn.order[span]]
        images = self.augment(self.gather(rows), self.drawn.draws[span], size)
        return ImageBatch(images, self.labels[rows], rows, shard.stop - shard.start, shard.global_size)

    def _eval(self, shard: Shard, size: int) -> ImageBatch:
        rows = self.rows[shard.split][span_of(shard)]
        rows = torch.cat([rows, rows[-1:].expand(shard.size - len(rows))])
        images = resample(self.gather(rows), size)
        return ImageBatch(images, self.labels[rows], rows, shard.stop - shard.start, shard.global_size)

    def _enter(self, epoch: int) -> None:
        if epoch != self.epoch:
            order, draws = draw_epoch(len(self.rows["train"]), self.seed, epoch)
            self.drawn, self.epoch = EpochDraws(order.to(self.device), draws.to(self.device)), epoch

    def gather(self, rows: Tensor) -> Tensor:
        """Stored images as float32 [n, 3, S, S] in [0, 1], on the device."""
        stored = self.images[rows.to(self.images.device)]
        return stored.to(self.device, non_blocking=True).float().div_(255)


def span_of(shard: Shard) -> slice:
    """The positions of a shard; where it has none, one image to pad with."""
    return slice(shard.start, shard.stop) if shard.stop > shard.start else slice(0, 1)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the data set may move to the device for good."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < RESIDENT_SHARE * free
