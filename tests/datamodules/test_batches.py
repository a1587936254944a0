"""Batches of pixels: the same for any number of ranks, counted correctly, labels with their images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules.augmentation import Augment
from datamodules.batches import BatchMaker, ImageBatch, fits, input_type
from datamodules.packed_cache import Meta, PackedImages
from datamodules.sampling import EvalShards, Shard, TrainShards, draw_epoch

SIDE, TRAIN, TEST = 8, 37, 11
AUGMENT = Augment(crop_scale=0.4, rotation=15, pad_crop=2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
NO_AUGMENT = Augment(flip=0, pad_crop=0)
CPU = torch.device("cpu")


@pytest.fixture
def packed() -> PackedImages:
    """48 random images; an image's label is its first byte."""
    images = np.random.default_rng(0).integers(0, 256, (TRAIN + TEST, 3, SIDE, SIDE), dtype=np.uint8)
    labels = images[:, 0, 0, 0].astype(np.int64)
    sizes = {"train": TRAIN, "val": 0, "test": TEST}
    meta = Meta(format=1, dataset="noise", classes=[], split_sizes=sizes, shape=[*images.shape], skipped=0, sha256={})
    return PackedImages(Path("nowhere"), images, labels, meta)


def maker(packed: PackedImages, augment: Augment = AUGMENT, seed: int = 5) -> BatchMaker:
    indices = {split: torch.from_numpy(packed.indices(split)) for split in ("train", "test")}
    return BatchMaker(packed, indices, seed, augment, CPU)


def train_batches(batches: BatchMaker, rank: int, world_size: int, epoch: int = 0, size: int = 12) -> list[ImageBatch]:
    shards = TrainShards(TRAIN, 16, rank, world_size, epoch=lambda: epoch)
    return [batches.make(shard, size) for shard in shards]


def counted_images(batches: list[ImageBatch]) -> Tensor:
    return torch.cat([batch.images[: batch.num_valid] for batch in batches])


@pytest.mark.parametrize("world_size", [2, 3, 4, 7])
def test_batches_of_all_ranks_together_are_bit_identical_to_those_of_one(packed: PackedImages, world_size: int) -> None:
    alone = train_batches(maker(packed), rank=0, world_size=1)
    ranks = [train_batches(maker(packed), rank, world_size) for rank in range(world_size)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(counted_images(parts), whole.images)
        assert torch.equal(torch.cat([part.labels[: part.num_valid] for part in parts]), whole.labels)
        assert [part.global_size for part in parts] == [whole.global_size] * world_size


def test_batches_are_a_function_of_seed_and_epoch_alone(packed: PackedImages) -> None:
    first = counted_images(train_batches(maker(packed), 0, 1, epoch=3))
    other = maker(packed)
    train_batches(other, 0, 1, epoch=0)
    torch.manual_seed(99)
    assert torch.equal(counted_images(train_batches(other, 0, 1, epoch=3)), first)
    assert not torch.equal(counted_images(train_batches(other, 0, 1, epoch=4)), first)
    assert not torch.equal(counted_images(train_batches(maker(packed, seed=6), 0, 1, epoch=3)), first)


def test_a_step_can_be_made_without_those_before_it(packed: PackedImages) -> None:
    last = train_batches(maker(packed), 0, 1, epoch=2)[-1]
    shard = list(TrainShards(TRAIN, 16, 0, 1, epoch=lambda: 2))[-1]
    assert torch.equal(maker(packed).make(shard, 12).images, last.images)


def test_one_image_twice_in_a_batch_is_augmented_twice(packed: PackedImages) -> None:
    batches = BatchMaker(packed, {"train": torch.tensor([4, 4])}, 0, AUGMENT, CPU)
    first, second = batches.make(Shard("train", 0, 0, 2, 2, 2), 12).images
    assert not torch.equal(first, second)


def test_train_images_are_the_rows_of_the_epochs_order(packed: PackedImages) -> None:
    batches = train_batches(maker(packed, NO_AUGMENT), 0, 1, epoch=1, size=SIDE)
    indices = torch.cat([batch.indices for batch in batches])
    assert torch.equal(indices, draw_epoch(TRAIN, seed=5, epoch=1).order)
    assert torch.equal(counted_images(batches), torch.from_numpy(packed.images)[indices].float() / 255)


def test_labels_belong_to_their_images(packed: PackedImages) -> None:
    batches = maker(packed, NO_AUGMENT)
    shards = [*TrainShards(TRAIN, 16, 0, 1, epoch=lambda: 0), *EvalShards("test", TEST, 4, 0, 1)]
    for batch in (batches.make(shard, SIDE) for shard in shards):
        assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.labels)


def test_shapes_types_and_range(packed: PackedImages) -> None:
    batches = maker(packed)
    shards = [Shard("train", 0, 0, 5, 5, 16), Shard("test", 0, 0, 3, 5, 3)]
    for batch in (batches.make(shard, 24) for shard in shards):
        assert (batch.images.shape, batch.images.dtype) == ((5, 3, 24, 24), torch.float32)
        assert (batch.labels.shape, batch.labels.dtype) == ((5,), torch.int64)
        assert (batch.indices.shape, batch.indices.dtype) == ((5,), torch.int64)
        assert 0 <= batch.images.min() <= batch.images.max() <= 1


def test_last_evaluation_chunk_is_padded_to_full_size_and_counted_right(packed: PackedImages) -> None:
    batches = [maker(packed).make(shard, SIDE) for shard in EvalShards("test", TEST, 4, 0, 1)]
    assert [len(batch.images) for batch in batches] == [4, 4, 4]
    assert [batch.num_valid for batch in batches] == [4, 4, 3]
    assert [row for batch in batches for row in batch.indices[: batch.num_valid].tolist()] == list(
        range(TRAIN, TRAIN + TEST)
    )


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_sees_every_image_once_unaugmented_on_any_number_of_ranks(
    packed: PackedImages, world_size: int
) -> None:
    batches = maker(packed)
    shards = [shard for rank in range(world_size) for shard in EvalShards("test", TEST, 4, rank, world_size)]
    made = [batches.make(shard, SIDE) for shard in shards]
    indices = torch.cat([batch.indices[: batch.num_valid] for batch in made])
    assert sorted(indices.tolist()) == list(range(TRAIN, TRAIN + TEST))
    assert torch.equal(counted_images(made), torch.from_numpy(packed.images)[indices].float() / 255)


@pytest.mark.parametrize(("split", "size"), [("train", 1), ("test", 4)])
def test_empty_shard_makes_a_batch_that_counts_nothing(packed: PackedImages, split: str, size: int) -> None:
    batch = maker(packed).make(Shard(split, 0, 0, 0, size, 0), 12)
    assert (len(batch.images), len(batch.labels), batch.num_valid) == (size, size, 0)


def test_making_batches_leaves_the_stored_images_alone(packed: PackedImages) -> None:
    before = packed.images.copy()
    train_batches(maker(packed), 0, 1, size=SIDE)
    assert np.array_equal(packed.images, before)


def test_on_a_cpu_the_images_stay_where_they_are() -> None:
    assert not fits(torch.zeros(1), CPU)


@pytest.mark.parametrize(("images", "moves"), [(24, True), (25, False)])
def test_images_move_to_a_gpu_if_they_take_less_than_a_quarter_of_its_free_memory(
    images: int, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {torch.device("cuda", 1): 100, torch.device("cuda", 0): 1000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 5000))
    assert fits(torch.zeros(images, dtype=torch.uint8), torch.device("cuda", 1)) is moves


class Moves(TorchDispatchMode):
    """Records what goes from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and args[0].device != result.device:
            self.found.append((args[0].device.type, result.device.type))
        return result


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_never_comes_back_from_the_device_and_goes_there_only_if_the_data_does_not_live_there(
    packed: PackedImages, split: str, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's `meta` device, which stands in for a GPU: its tensors have no values, so waiting for one fails."""
    monkeypatch.setattr("datamodules.batches.fits", lambda images, device: resident)
    indices = {name: torch.from_numpy(packed.indices(name)) for name in ("train", "test")}
    batches = BatchMaker(packed, indices, 5, AUGMENT, torch.device("meta"))
    shard = Shard(split, 0, 0, 8, 8, 8)
    batches.make(shard, 12)  # the first one brings the epoch's draws
    with Moves() as moves:
        batch = batches.make(shard, 12)
    assert {tensor.device.type for tensor in batch[:3]} == {"meta"}
    # Images; labels and rows are there for the whole epoch, and in evaluation come with each batch.
    each_batch = {"train": 1, "test": 3}[split]
    assert moves.found == ([] if resident else [("cpu", "meta")] * each_batch)


@pytest.mark.parametrize("world_size", [1, 3])
def test_balanced_batches_follow_the_balanced_order_on_any_number_of_ranks(
    packed: PackedImages, world_size: int
) -> None:
    labels = torch.arange(TRAIN) // 30  # 30 images of one class, 7 of another
    packed = PackedImages(packed.folder, packed.images, np.resize(labels.numpy(), TRAIN + TEST), packed.meta)
    indices = {"train": torch.arange(TRAIN)}
    expected = draw_epoch(TRAIN, seed=5, epoch=1, balanced=labels).order
    makers = [BatchMaker(packed, indices, 5, AUGMENT, CPU, balanced=True) for _ in range(world_size)]
    ranks = [train_batches(made, rank, world_size, epoch=1) for rank, made in enumerate(makers)]
    found = [part.indices[: part.num_valid] for step in zip(*ranks, strict=True) for part in step]
    assert torch.equal(torch.cat(found), expected)
    assert labels[expected].bincount().tolist() in ([18, 19], [19, 18])


class Kernels(TorchDispatchMode):
    """Counts operations that run something on the device: all but views and empty tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.count += not (function.is_view or "empty" in function.name() or "lift_fresh" in function.name())
        return result


@pytest.mark.parametrize(
    ("augment", "kernels"),
    [
        (Augment(), 7),
        (Augment(crop_scale=0.6, pad_crop=0, brightness=0.2, contrast=0.2, saturation=0.2), 20),  # cifar10_gpu.yaml
        (Augment(crop_scale=0.3, rotation=15, pad_crop=0), 7),
        (Augment(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), 46),
        (Augment(trivial_augment=True, erasing=0.25), 45),
        (Augment(mixup=0.2), 14),
    ],
    ids=["flip and shift", "the GPU's recipe", "crop and rotation", "colour", "TrivialAugment and erasing", "mixup"],
)
def test_a_training_batch_takes_so_many_kernels(
    packed: PackedImages, augment: Augment, kernels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, each costs a few microseconds to launch, whatever its size. docs/gpu.md has these figures."""
    batches = on_meta(packed, monkeypatch, augment, torch.bfloat16)
    shard = Shard("train", 0, 8, 16, 8, 16, 0)
    batches.make(shard, 12)  # the first one computes what the epoch shares
    with Kernels() as counted:
        batches.make(shard, 12)
    assert counted.count == kernels


def test_a_batch_for_evaluation_takes_so_many_kernels(packed: PackedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = on_meta(packed, monkeypatch, AUGMENT, torch.bfloat16)
    batches.make(Shard("test", 0, 0, 8, 8, 8), 12)
    with Kernels() as counted:
        batches.make(Shard("test", 0, 0, 8, 8, 8), 12)
    assert counted.count == 5


def on_meta(packed: PackedImages, monkeypatch: pytest.MonkeyPatch, augment: Augment, pixels: torch.dtype) -> BatchMaker:
    """A maker whose data set is on torch's `meta` device, which stands in for a GPU."""
    monkeypatch.setattr("datamodules.batches.fits", lambda images, device: True)
    indices = {split: torch.from_numpy(packed.indices(split)) for split in ("train", "test")}
    return BatchMaker(packed, indices, 5, augment, torch.device("meta"), pixels=pixels)


@pytest.mark.parametrize(
    ("precision", "pixels"),
    [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16), ("32-true", torch.float32)],
)
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_on_a_gpu_images_come_as_the_first_convolution_takes_them(
    packed: PackedImages, precision: str, pixels: torch.dtype, mixup: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert input_type(precision, torch.device("cuda")) == pixels
    batches = on_meta(packed, monkeypatch, Augment(mixup=mixup), pixels)
    for shard in (Shard("train", 0, 0, 8, 8, 8), Shard("test", 0, 0, 8, 8, 8)):
        images = batches.make(shard, 12).images
        assert images.dtype == pixels
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_on_a_cpu_images_are_the_same_in_each_precision() -> None:
    assert {input_type(precision, CPU) for precision in ("bf16-mixed", "16-mixed", "32-true")} == {torch.float32}


@pytest.mark.parametrize("options", [{}, {"trivial_augment": True, "erasing": 0.5}, {"hue": 0.0, "rotation": 0.0}])
def test_what_is_computed_once_for_an_epoch_is_to_the_bit_what_a_batch_alone_comes_to(
    packed: PackedImages, options: dict[str, Any]
) -> None:
    augment = dataclasses.replace(AUGMENT, **options)
    drawn = draw_epoch(TRAIN, seed=5, epoch=0)
    for index, batch in enumerate(train_batches(maker(packed, augment), 0, 1)):
        positions = slice(16 * index, 16 * index + len(batch.images))
        stored = torch.from_numpy(packed.images)[drawn.order[positions]].float().div_(255)
        assert torch.equal(batch.images, augment(stored, drawn.draws[positions], 12))
