"""The LightningDataModule: one for every data set, because all become the same packed cache."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch

from datamodules.augmentation import Augment
from datamodules.batches import BatchMaker, ImageBatch, input_type
from datamodules.cache_building import open_or_pack
from datamodules.dataset_report import full_report, report_lines
from datamodules.errors import DataError
from datamodules.holdout import held_out
from datamodules.packed_cache import PackedImages
from datamodules.sampling import EvalShards, Shard, TrainShards, draw_epoch
from datamodules.sources.files import names_an_archive
from datamodules.sources.folder import DEFAULTS, ImageFolder, Reading
from datamodules.sources.layout import holds_splits
from datamodules.sources.source import Source
from lightning_app.files import replace_file

Dataset = Literal["cifar10", "image_folder", "digits"]
log = logging.getLogger(__name__)


class ImageData(pl.LightningDataModule):
    """Images of a data set, in batches made on the training device.

    Args:
        dataset: `cifar10` (official files, or an archive or folder of its images), `image_folder`
            (train/<class>/*, test/<class>/*, optionally val/<class>/*; or <class>/*) or `digits` (bundled with
            scikit-learn).
        root: where the data is: a directory or an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst).
            CIFAR-10 is downloaded into it if missing. Not used for digits.
        table: a .csv with a path, a label and optionally a split for each image in root, instead of folders.
        batch_size: images per optimizer step over all ranks (the global batch).
        image_size: image side in training, in pixels; a list gives one side per epoch, and the last one stays.
        eval_size: image side in validation and test; null is the last training size.
        augment: augmentation of training images.
        val_fraction: share of each class held out of the training images for validation, if the data has no val/.
        test_fraction: share of each class split off for test, if an image folder or a table has no splits.
        stored_size: side of the stored images; null is the data set's own: for image folders, the median of their
            shorter sides, but no more than 256.
        on_bad_image: `error` stops at unreadable images and lists them, `skip` counts them and leaves them out.
        max_megapixels: larger images count as unreadable; null is Pillow's limit of 179.
        names_encoding: encoding of names in a .zip that are not UTF-8, for example shift_jis, gbk or cp1252.
        eval_batch_size: images per evaluation step and rank.
        cache_dir: where packed caches are kept.
        balanced: train on equally many images of each class. The length of an epoch does not change: images of small
            classes come up several times, each with a new augmentation, and large classes give a different subset in
            each epoch.
        seed: decides split, order and augmentation; the program sets it from seed_everything.
    """

    def __init__(
        self,
        dataset: Dataset = "cifar10",
        root: str = "data",
        table: str | None = None,
        batch_size: int = 64,
        image_size: int | list[int] = 224,
        eval_size: int | None = None,
        augment: Augment = Augment(),  # noqa: B008 - jsonargparse shows this default; it is never changed
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        stored_size: int | None = None,
        on_bad_image: Literal["error", "skip"] = "error",
        max_megapixels: float | None = None,
        names_encoding: str | None = None,
        eval_batch_size: int = 250,
        cache_dir: str = "data/packed",
        balanced: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = image_size if isinstance(image_size, list) else [image_size]
        check_positive(batch_size=batch_size, eval_batch_size=eval_batch_size, image_size=min(sizes, default=0))
        check_positive(**{n: v for n, v in (("eval_size", eval_size), ("stored_size", stored_size)) if v is not None})
        check_share(val_fraction=val_fraction, test_fraction=test_fraction)
        self.dataset, self.root, self.cache_dir = dataset, Path(root).expanduser(), Path(cache_dir).expanduser()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.image_sizes = sizes
        self.eval_size = eval_size or self.image_sizes[-1]
        self.augment, self.val_fraction, self.balanced, self.seed = augment, val_fraction, balanced, seed
        self.stored_size, self.on_bad_image = stored_size, on_bad_image
        self.reading = Reading(
            Path(table).expanduser() if table else None, test_fraction, names_encoding, max_megapixels
        )
        self._maker: BatchMaker | None = None

    @cached_property
    def packed(self) -> PackedImages:
        """The open cache; packed on first use."""
        source = open_source(self.dataset, self.root, self.stored_size, self.reading)
        return open_or_pack(source, self.dataset, self.cache_dir, self.on_bad_image == "skip", log=log.info)

    @cached_property
    def indices(self) -> dict[str, torch.Tensor]:
        """Row numbers of train, val and test, int64; logged on first use, one line per split."""
        indices = split_indices(self.packed, self.val_fraction, self.seed)
        for line in report_lines(self.packed, indices):
            log.info(line)
        return indices

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: without the images on its last device."""
        return self.__dict__ | {"_maker": None}

    def __str__(self) -> str:
        """A description, without packing: Lightning's own asks for loaders."""
        opened = self.__dict__.get("indices", {})
        splits = {split: len(indices) for split, indices in opened.items()} or "not opened yet"
        return f"ImageData(dataset={self.dataset!r}, root={str(self.root)!r}, images={splits})"

    def write_report(self, path: Path) -> None:
        """The full report on the data, with every file that was ignored, unreadable or equal to another.

        Raises:
            OSError: it cannot be written.
        """
        replace_file(path, full_report(self.packed, self.indices).encode())

    @property
    def num_classes(self) -> int:
        """Number of classes in the data; packs it first if that has not been done."""
        return len(self.packed.classes)

    def prepare_data(self) -> None:
        self.indices  # noqa: B018 - packs on first use

    def setup(self, stage: str) -> None:
        self.prepare_data()

    def train_size(self, epoch: int) -> int:
        """Side of the training images in an epoch."""
        return self.image_sizes[min(epoch, len(self.image_sizes) - 1)]

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return len(self.train_dataloader())

    def train_dataloader(self) -> TrainShards:
        images = len(self.indices["train"])
        return TrainShards(
            images, self.batch_size, *self._rank(), epoch=lambda: self._trainer_epoch(), behind=lambda: self._behind()
        )

    def val_dataloader(self) -> EvalShards | list:
        return self._eval_shards("val") if len(self.indices["val"]) else []

    def test_dataloader(self) -> EvalShards:
        return self._eval_shards("test")

    def predict_dataloader(self) -> EvalShards:
        return self._eval_shards("test")

    def _eval_shards(self, split: str) -> EvalShards:
        if not len(self.indices[split]):
            raise DataError(f"no {split} images in {self.root}; expected {split}/<class>/<image>.")
        return EvalShards(split, len(self.indices[split]), self.eval_batch_size, *self._rank())

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _trainer_epoch(self) -> int:
        """The epoch whose order and augmentation are drawn: always the first if the user overfits."""
        if self.trainer is None or self.trainer.overfit_batches:  # type: ignore[attr-defined]  # set by a connector
            return 0
        return self.trainer.current_epoch

    def _behind(self) -> int:
        return self.trainer.fit_loop.batch_idx + 1 if self.trainer else 0

    def batch_names(self, epoch: int, batch_idx: int) -> list[str]:
        """The images of a global training batch."""
        indices, first = self.indices["train"], batch_idx * self.batch_size
        labels = torch.from_numpy(self.packed.labels)[indices] if self.balanced else None
        order = draw_epoch(len(indices), self.seed, epoch, labels).order[first : first + self.batch_size]
        names = self.packed.names()
        return [names[row] for row in indices[order].tolist()]

    def on_after_batch_transfer(self, batch: Shard, dataloader_idx: int) -> ImageBatch:
        assert self.trainer is not None
        return self.make(batch, self.trainer.strategy.root_device)

    def make(self, shard: Shard, device: torch.device) -> ImageBatch:
        """The pixels of a shard, made on `device`."""
        pixels = input_type(self.trainer.precision if self.trainer else "", device)
        if self._maker is None or (self._maker.device, self._maker.pixels) != (device, pixels):
            self._maker = BatchMaker(self.packed, self.indices, self.seed, self.augment, device, self.balanced, pixels)
        size = self.train_size(shard.epoch) if shard.split == "train" else self.eval_size
        return self._maker.make(shard, size)


def open_source(dataset: Dataset, root: Path, stored_size: int | None, reading: Reading = DEFAULTS) -> Source:
    """The source of a data set by name."""
    from datamodules.sources.cifar10 import CIFAR10, OFFICIAL_ARCHIVE, SIZE
    from datamodules.sources.digits import Digits

    if reading.table and dataset != "image_folder":
        raise DataError(f"data.table needs data.dataset image_folder, not {dataset}.")
    if dataset == "digits":
        native_size_only(dataset, stored_size, Digits.stored_size)
        return Digits()
    if dataset == "image_folder":
        return ImageFolder(root, stored_size, reading)
    if root.name == OFFICIAL_ARCHIVE:
        root = root.parent  # where torchvision looks for it
    elif names_an_archive(root) or root.is_file() or holds_splits(root):
        return ImageFolder(root, stored_size or SIZE, reading)
    native_size_only(dataset, stored_size, SIZE)
    return CIFAR10(root)


def native_size_only(dataset: Dataset, stored_size: int | None, native: int) -> None:
    """Raise a DataError if a size is requested that the data set does not come in."""
    if stored_size not in (None, native):
        raise DataError(f"data.stored_size is {stored_size}, but {dataset} is stored at {native}; leave it out.")


def split_indices(packed: PackedImages, val_fraction: float, seed: int) -> dict[str, torch.Tensor]:
    """Row numbers of train, val and test; val is held out of train if the data has no val."""
    indices = {split: packed.indices(split) for split in ("train", "val", "test")}
    if val_fraction and not len(indices["val"]):
        train, names = indices["train"], packed.names()
        chosen = held_out(packed.labels[train].tolist(), [names[row] for row in train], val_fraction, f"val {seed}")
        indices["train"], indices["val"] = train[~chosen], train[chosen]
    return {split: torch.from_numpy(np.ascontiguousarray(numbers)) for split, numbers in indices.items()}


def check_share(**values: float) -> None:
    """Raise a DataError for the first value that is not a fraction."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise DataError(f"data.{name} is {value}; expected a share in [0, 1).")


def check_positive(**values: int) -> None:
    """Raise a DataError for the first value below 1."""
    for name, value in values.items():
        if value < 1:
            raise DataError(f"data.{name} is {value}; expected 1 or more.")
