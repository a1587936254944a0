"""From a shard to a batch of pixels, on the device: gather, augment, resample."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from datamodules.augmentation import Augment, Changes
from datamodules.geometry import resample
from datamodules.packed_cache import PackedImages
from datamodules.sampling import Shard, draw_epoch

# Share of a GPU's free memory that the data set may take; the rest is for the model.
RESIDENT_SHARE = 0.25


class ImageBatch(NamedTuple):
    """The input of a model's step.

    Attributes:
        images: [n, 3, size, size] in [0, 1]; the model normalises them. On a CPU float32; on a GPU in the dtype and the
            memory format that the first convolution takes, see `input_type`.
        labels: int64 [n].
        indices: int64 [n], where the images lie in the packed cache.
        num_valid: leading images that count; the rest is padding.
        global_size: images that count in the global batch, over all ranks.
        mixed_labels: int64 [n], labels of the images mixed into these; None if nothing is mixed.
        own_share: share of an image that is its own; the rest is mixed in.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    num_valid: int
    global_size: int
    mixed_labels: Tensor | None = None
    own_share: float = 1.0


class Epoch(NamedTuple):
    """Everything that the batches of an epoch look up, by position in its order.

    Attributes:
        home_indices: int64 [N], indices into the packed cache, where the data set is.
        indices, labels: int64 [N], on the device.
        changes: of N images, on the device.
    """

    home_indices: Tensor
    indices: Tensor
    labels: Tensor
    changes: Changes


class BatchMaker:
    """Makes the batches of a data set on one device.

    Args:
        packed: the open cache.
        indices: for each split, int64 indices into the packed cache.
        seed: with the epoch, decides order and draws.
        augment: applied to the split `train`.
        device: where batches are made.
        balanced: train on equally many images of each class.
        pixels: dtype of the images in a batch.

    Attributes:
        home: where the data set is: on a GPU with room for it, where it then stays, else in CPU memory. Lookups in it
            happen there, so that nothing is ever read back from a GPU.
    """

    def __init__(
        self,
        packed: PackedImages,
        indices: dict[str, Tensor],
        seed: int,
        augment: Augment,
        device: torch.device,
        balanced: bool = False,
        pixels: torch.dtype = torch.float32,
    ) -> None:
        self.seed, self.augment, self.device, self.pixels = seed, augment, device, pixels
        images = torch.from_numpy(packed.images)
        self.home = device if fits(images, device) else torch.device("cpu")
        # CUDA copies pageable memory only once all earlier work is done.
        self.pinned = device.type == "cuda" and self.home.type == "cpu"
        self.images = images.to(self.home)
        self.labels = torch.from_numpy(packed.labels).to(self.home)
        self.indices = {split: numbers.to(self.home) for split, numbers in indices.items()}
        self.train_labels = self.labels[self.indices["train"]].cpu() if balanced else None
        self.entered = (-1, 0)
        self.epoch: Epoch

    def make(self, shard: Shard, size: int) -> ImageBatch:
        """The pixels and labels of a shard, at side `size`."""
        if shard.split == "train":
            return self._train(shard, size)
        return self._eval(shard, size)

    def _train(self, shard: Shard, size: int) -> ImageBatch:
        self._enter(shard.epoch, size)
        span = span_of(shard)
        mix = self.augment.draw_mix(self.seed, shard.epoch, shard.first, size)
        part = at(self.epoch, [span] if mix is None else [before(shard, span), span])
        images = self.augment.apply(self.gather(part.home_indices), part.changes, size)
        if mix is None:
            return self._batch(images, part.labels, part.indices, shard)
        images = mix.apply(images[1:], images[:-1])
        batch = self._batch(images, part.labels[1:], part.indices[1:], shard)
        return batch._replace(mixed_labels=part.labels[:-1], own_share=mix.own_share)

    def _eval(self, shard: Shard, size: int) -> ImageBatch:
        indices = self.indices[shard.split][span_of(shard)]
        if len(indices) < shard.size:
            indices = torch.cat([indices, indices[-1:].expand(shard.size - len(indices))])
        images = resample(self.gather(indices), size)
        return self._batch(images, self._to_device(self.labels[indices]), self._to_device(indices), shard)

    def _batch(self, images: Tensor, labels: Tensor, indices: Tensor, shard: Shard) -> ImageBatch:
        if self.device.type != "cpu":
            images = images.to(self.pixels, memory_format=torch.channels_last)
        return ImageBatch(images, labels, indices, shard.stop - shard.start, shard.global_size)

    def _enter(self, epoch: int, size: int) -> None:
        """Look up and compute everything that an epoch's batches share."""
        if self.entered != (epoch, size):
            order, draws = draw_epoch(len(self.indices["train"]), self.seed, epoch, self.train_labels)
            home_indices = self.indices["train"][order.to(self.home)]
            indices, labels = self._to_device(home_indices), self._to_device(self.labels[home_indices])
            changes = self.augment.changes(self._to_device(draws), self.images.shape[-1], size)
            self.epoch, self.entered = Epoch(home_indices, indices, labels, changes), (epoch, size)

    def gather(self, indices: Tensor) -> Tensor:
        """Stored images as float32 [n, 3, S, S] in [0, 1], on the device."""
        shape = (len(indices), *self.images.shape[1:])
        into = torch.empty(shape, dtype=torch.uint8, pin_memory=True) if self.pinned else None
        return torch.index_select(self.images, 0, indices, out=into).to(self.device, non_blocking=True) / 255

    def _to_device(self, values: Tensor) -> Tensor:
        """Without waiting for the device."""
        if self.pinned:
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True)


def input_type(precision: str, device: torch.device) -> torch.dtype:
    """The dtype in which the first convolution takes pixels, from Lightning's name for the precision.

    Always float32 on a CPU, so that a batch is bit-identical in each precision.
    """
    narrow = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return torch.float32 if device.type == "cpu" else narrow.get(precision, torch.float32)


Fields = TypeVar("Fields", bound=tuple)


def at(fields: Fields, spans: list[slice]) -> Fields:
    """The spans of every tensor in a NamedTuple of tensors, None and nested ones."""

    def part(value: Any) -> Any:
        if isinstance(value, tuple):
            return at(value, spans)
        return None if value is None else together([value[span] for span in spans])

    return type(fields)(*map(part, fields))


def span_of(shard: Shard) -> slice:
    """The positions of a shard; if it has none, one image of padding."""
    return slice(shard.start, shard.stop) if shard.stop > shard.start else slice(0, 1)


def together(parts: list[Tensor]) -> Tensor:
    """Concatenate parts, without copying a single one."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def before(shard: Shard, span: slice) -> slice:
    """The position before a shard's first one, treating its global batch as a ring."""
    position = span.start - 1 if span.start > shard.first else shard.first + max(shard.global_size, 1) - 1
    return slice(position, position + 1)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the data set may move to the device permanently."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < RESIDENT_SHARE * free
