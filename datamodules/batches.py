"""From a shard to a batch of pixels, on the device: gather, augment, resample."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.augmentation import Augment
from datamodules.geometry import resample
from datamodules.packed_cache import PackedImages
from datamodules.sampling import EpochDraws, Shard, draw_epoch

# Share of the free memory of a GPU that the data set may take; the rest is the model's.
RESIDENT_SHARE = 0.25


class ImageBatch(NamedTuple):
    """What a model's step gets.

    Attributes:
        images: float32 [n, 3, size, size] in [0, 1]; normalising is the model's.
        labels: int64 [n].
        indices: int64 [n], where the images lie in the packed cache.
        num_valid: leading images that count; the rest is padding.
        global_size: images that count in the global batch, over all ranks.
        mixed_labels: int64 [n], labels of the images that are mixed into these; None where nothing is mixed.
        own_share: how much of an image is its own; the rest is mixed in.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    num_valid: int
    global_size: int
    mixed_labels: Tensor | None = None
    own_share: float = 1.0


class BatchMaker:
    """Makes the batches of a data set on one device.

    Args:
        packed: the open cache.
        indices: for each split, int64 indices into the packed cache.
        seed: with the epoch, decides order and draws.
        augment: applied to the split `train`.
        device: where batches are made.
        balanced: train on as many images of each class.

    Attributes:
        home: where the data set is: on a GPU with room for it, which it then never leaves, else in the CPU's memory.
            What is looked up in it is looked up there, so that nothing is ever read back from a GPU.
    """

    def __init__(
        self,
        packed: PackedImages,
        indices: dict[str, Tensor],
        seed: int,
        augment: Augment,
        device: torch.device,
        balanced: bool = False,
    ) -> None:
        self.seed, self.augment, self.device = seed, augment, device
        images = torch.from_numpy(packed.images)
        self.home = device if fits(images, device) else torch.device("cpu")
        self.images = images.to(self.home)
        self.labels = torch.from_numpy(packed.labels).to(self.home)
        self.indices = {split: numbers.to(self.home) for split, numbers in indices.items()}
        self.train_labels = self.labels[self.indices["train"]].cpu() if balanced else None
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
        mix = self.augment.draw_mix(self.seed, shard.epoch, shard.first, size)
        if mix is None:
            images, indices = self._augmented(size, span)
            return self._batch(images, indices, shard)
        images, indices = self._augmented(size, before(shard, span), span)
        batch = self._batch(mix.apply(images[1:], images[:-1]), indices[1:], shard)
        return batch._replace(mixed_labels=self._to_device(self.labels[indices[:-1]]), own_share=mix.own_share)

    def _augmented(self, size: int, *spans: slice) -> tuple[Tensor, Tensor]:
        """The images at positions of the epoch's order, and their indices."""
        order, draws = (together([values[span] for span in spans]) for values in self.drawn)
        indices = self.indices["train"][order]
        return self.augment(self.gather(indices), draws, size), indices

    def _eval(self, shard: Shard, size: int) -> ImageBatch:
        indices = self.indices[shard.split][span_of(shard)]
        indices = torch.cat([indices, indices[-1:].expand(shard.size - len(indices))])
        return self._batch(resample(self.gather(indices), size), indices, shard)

    def _batch(self, images: Tensor, indices: Tensor, shard: Shard) -> ImageBatch:
        labels, indices = self._to_device(self.labels[indices]), self._to_device(indices)
        return ImageBatch(images, labels, indices, shard.stop - shard.start, shard.global_size)

    def _enter(self, epoch: int) -> None:
        if epoch != self.epoch:
            order, draws = draw_epoch(len(self.indices["train"]), self.seed, epoch, self.train_labels)
            self.drawn, self.epoch = EpochDraws(order.to(self.home), draws.to(self.device)), epoch

    def gather(self, indices: Tensor) -> Tensor:
        """Stored images as float32 [n, 3, S, S] in [0, 1], on the device."""
        return self._to_device(self.images[indices]).float().div_(255)

    def _to_device(self, values: Tensor) -> Tensor:
        """Without waiting for the device: what may be paged out, CUDA copies only once all before it is done."""
        if self.device.type == "cuda" and self.home.type == "cpu":
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True)


def span_of(shard: Shard) -> slice:
    """The positions of a shard; where it has none, one image to pad with."""
    return slice(shard.start, shard.stop) if shard.stop > shard.start else slice(0, 1)


def together(parts: list[Tensor]) -> Tensor:
    """Parts in one, without a copy of a single one."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def before(shard: Shard, span: slice) -> slice:
    """The position before a shard's first one, in its global batch as in a ring."""
    position = span.start - 1 if span.start > shard.first else shard.first + max(shard.global_size, 1) - 1
    return slice(position, position + 1)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the data set may move to the device for good."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < RESIDENT_SHARE * free
