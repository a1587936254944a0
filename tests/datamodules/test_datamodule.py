"""The LightningDataModule: options, splits and loaders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.datamodule import ImageData, open_source
from datamodules.errors import DataError
from datamodules.sources.cifar10 import CIFAR10
from datamodules.sources.folder import ImageFolder

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_data(make_folder: MakeFolder, tmp_path: Path) -> Callable[..., ImageData]:
    """An ImageData over a small folder; `splits` says how many images a class each split has."""

    def make(splits: dict[str, int] | None = None, **options: Any) -> ImageData:
        root = make_folder(splits=splits or {"train": 10, "test": 2})
        defaults: dict[str, Any] = {
            "stored_size": 8,
            "image_size": 16,
            "batch_size": 4,
            "cache_dir": str(tmp_path / "cache"),
        }
        return ImageData("image_folder", str(root), **(defaults | options))

    return make


@pytest.mark.parametrize(
    ("sizes", "expected"), [(24, [24, 24, 24, 24]), ([16, 20, 24], [16, 20, 24, 24]), ([16], [16, 16, 16, 16])]
)
def test_image_size_goes_by_epoch_and_the_last_one_stays(
    make_data: Callable[..., ImageData], sizes: int | list[int], expected: list[int]
) -> None:
    data = make_data(image_size=sizes)
    assert [data.train_size(epoch) for epoch in range(4)] == expected


def test_batches_are_made_at_the_size_of_their_epoch_and_evaluation_at_the_last(
    make_data: Callable[..., ImageData],
) -> None:
    data = make_data(image_size=[16, 20])
    data.setup("fit")
    train, test = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
    cpu = torch.device("cpu")
    assert [data.make(train._replace(epoch=epoch), cpu).images.shape[-1] for epoch in (0, 1, 2)] == [16, 20, 20]
    assert data.make(test, cpu).images.shape[-1] == 20


def test_eval_size_overrides_the_training_size(make_data: Callable[..., ImageData]) -> None:
    data = make_data(image_size=16, eval_size=12)
    data.setup("test")
    assert data.make(next(iter(data.test_dataloader())), torch.device("cpu")).images.shape[-1] == 12


def test_number_of_classes_packs_the_data_first(make_data: Callable[..., ImageData], tmp_path: Path) -> None:
    data = make_data()
    assert not (tmp_path / "cache").exists()
    assert data.num_classes == 2
    assert data.packed.folder.parent == tmp_path / "cache"


def test_validation_is_held_out_of_train_class_by_class(make_data: Callable[..., ImageData]) -> None:
    data = make_data(val_fraction=0.2)
    data.setup("fit")
    labels = data.packed.labels
    assert {split: len(rows) for split, rows in data.indices.items()} == {"train": 16, "val": 4, "test": 4}
    assert sorted(labels[data.indices["val"]]) == [0, 0, 1, 1]
    assert not set(data.indices["train"].tolist()) & set(data.indices["val"].tolist())


def test_val_folder_is_used_whole_and_train_kept_whole(make_data: Callable[..., ImageData]) -> None:
    data = make_data({"train": 10, "val": 3, "test": 2}, val_fraction=0.5)
    data.setup("fit")
    assert data.indices["train"].tolist() == data.packed.indices("train").tolist()
    assert data.indices["val"].tolist() == data.packed.indices("val").tolist() == list(range(20, 26))


def test_fraction_zero_gives_no_validation_loader(make_data: Callable[..., ImageData]) -> None:
    data = make_data(val_fraction=0)
    data.setup("fit")
    assert data.val_dataloader() == []
    assert len(data.indices["train"]) == 20


def test_without_test_images_the_test_loader_is_an_error_that_says_what_is_expected(
    make_data: Callable[..., ImageData],
) -> None:
    data = make_data({"train": 3})
    data.setup("test")
    with pytest.raises(DataError, match=r"no test images in .*photos; expected test/<class>/<image>"):
        data.test_dataloader()


@pytest.mark.parametrize("balanced", [False, True])
def test_the_names_of_a_batch_are_those_of_its_images(make_data: Callable[..., ImageData], balanced: bool) -> None:
    data = make_data(val_fraction=0.3, balanced=balanced)
    data.setup("fit")
    names = data.packed.names()
    for number, shard in enumerate(data.train_dataloader()):
        taken = data.make(shard, torch.device("cpu")).indices
        assert data.batch_names(0, number) == [names[index] for index in taken.tolist()]


def test_steps_per_epoch_include_the_short_last_batch(make_data: Callable[..., ImageData]) -> None:
    data = make_data(val_fraction=0, batch_size=8)
    data.setup("fit")
    assert data.steps_per_epoch == len(list(data.train_dataloader())) == 3


def test_skipped_images_are_in_no_split(make_data: Callable[..., ImageData]) -> None:
    data = make_data(val_fraction=0.2, on_bad_image="skip")
    (Path(data.root) / "train" / "cat" / "3.png").write_text("not an image")
    data.setup("fit")
    skipped = data.packed.names().index("train/cat/3.png")
    assert sorted(row for rows in data.indices.values() for row in rows.tolist()) == sorted(set(range(24)) - {skipped})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("eval_batch_size", 0),
        ("image_size", 0),
        ("image_size", [32, -1]),
        ("image_size", []),
        ("eval_size", 0),
        ("stored_size", 0),
        ("val_fraction", 1.0),
        ("val_fraction", -0.1),
        ("test_fraction", 1.0),
    ],
)
def test_option_out_of_range_is_an_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"data\.{name} is .*; expected"):
        ImageData("digits", **{name: value})


def test_cifar10_is_read_from_a_folder_or_archive_of_images_or_from_the_official_files(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = open_source("cifar10", make_folder(), None)
    assert isinstance(folder, ImageFolder)
    assert folder.stored_size == 32
    assert isinstance(open_source("cifar10", tmp_path / "data", None), CIFAR10)


@pytest.mark.parametrize("name", ["cifar10.zip", "cifar10.tar.gz"])
def test_an_archive_that_is_not_there_is_no_place_to_download_to(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no data at .*{name}"):
        open_source("cifar10", tmp_path / name, None)
    assert list(tmp_path.iterdir()) == []


def test_the_images_held_out_stay_when_another_comes(make_data: Callable[..., ImageData]) -> None:
    data = make_data({"train": 50, "test": 1}, val_fraction=0.2)
    before = {data.packed.names()[row] for row in data.indices["val"].tolist()}
    Image.new("RGB", (8, 8)).save(Path(data.root) / "train" / "cat" / "00.png")  # before all others of its class
    data = ImageData("image_folder", str(data.root), cache_dir=str(data.cache_dir), val_fraction=0.2)
    after = {data.packed.names()[row] for row in data.indices["val"].tolist()}
    assert len(before - after) <= 1
    assert {name for name in before if "dog" in name} <= after


def test_class_folders_alone_are_split_in_three(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(splits={"flowers": 10}) / "flowers"
    data = ImageData("image_folder", str(root), cache_dir=str(tmp_path), test_fraction=0.3, val_fraction=0.3)
    assert {split: len(rows) for split, rows in data.indices.items()} == {"train": 10, "val": 4, "test": 6}


def test_a_table_needs_an_image_folder() -> None:
    with pytest.raises(DataError, match=r"data\.table needs data\.dataset image_folder, not digits"):
        ImageData("digits", table="labels.csv").packed  # noqa: B018


def test_a_home_directory_is_understood(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_folder().parent))
    assert ImageData("image_folder", "~/photos").root.is_dir()


def test_the_official_archive_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    source = open_source("cifar10", tmp_path / "cifar-10-python.tar.gz", None)
    assert isinstance(source, CIFAR10)
    assert source.root == tmp_path
