"""Class folders, in a directory or an archive, become one listing and the same images."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.errors import DataError
from datamodules.sources.folder import ImageFolder
from datamodules.sources.source import Listing

MakeFolder = Callable[..., Path]
KINDS = ["directory", "zip", "tar", "gztar"]
SUFFIXES = {"zip": ".zip", "tar": ".tar", "gztar": ".tar.gz"}


def as_kind(root: Path, kind: str, outer: bool = False) -> Path:
    """The folder, or an archive of it, with the folder's own name as outer folder if wanted."""
    if kind == "directory":
        return root.parent if outer else root
    archive = root.parent / "archives" / root.name
    archive.parent.mkdir(exist_ok=True)
    inside = (root.parent, root.name) if outer else (root, ".")
    return Path(shutil.make_archive(str(archive), kind, *inside))


def pixels(source: ImageFolder) -> np.ndarray:
    """All images by row."""
    rows = dict(source.images())
    assert sorted(rows) == list(range(len(rows)))
    return np.stack([image for _, image in sorted(rows.items()) if isinstance(image, np.ndarray)])


def listing(root: Path) -> Listing:
    return ImageFolder(root, 8).listing()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_images_labels_and_names(make_folder: MakeFolder, kind: str) -> None:
    root = make_folder(splits={"train": 3, "val": 1, "test": 2})
    source = ImageFolder(as_kind(root, kind), 8)
    found = source.listing()
    assert found.classes == ["cat", "dog"]
    assert found.split_sizes == {"train": 6, "val": 2, "test": 4}
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1, 1]
    names = [name.removeprefix("./") for name in found.names]
    assert names[:7] == [*(f"train/{c}/{n}.png" for c in ("cat", "dog") for n in range(3)), "val/cat/0.png"]
    expected = [np.asarray(Image.open(root / name)).transpose(2, 0, 1) for name in names]
    assert np.array_equal(pixels(source), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_one_outer_folder_makes_no_difference(make_folder: MakeFolder, kind: str) -> None:
    root = make_folder()
    plain, nested = ImageFolder(root, 8), ImageFolder(as_kind(root, kind, outer=True), 8)
    assert [name.removeprefix("photos/") for name in nested.listing().names] == plain.listing().names
    assert nested.listing().labels.tolist() == plain.listing().labels.tolist()
    assert np.array_equal(pixels(nested), pixels(plain))


def test_more_images_than_are_read_at_once_keep_their_rows(make_folder: MakeFolder) -> None:
    root = make_folder(splits={"train": 300}, side=2)
    source = ImageFolder(root, 2)
    expected = [np.asarray(Image.open(root / name)).transpose(2, 0, 1) for name in source.listing().names]
    assert np.array_equal(pixels(source), expected)


def test_name_twice_in_an_archive_is_one_image_the_last(make_folder: MakeFolder) -> None:
    root = make_folder()
    good = (root / "train/cat/0.png").read_bytes()
    (root / "train/cat/0.png").write_bytes(good[:50])  # to be mended
    path = as_kind(root, "tar")
    Image.new("RGB", (8, 8), "red").save(root / "train/cat/0.png")
    with tarfile.open(path, "a") as archive:
        archive.add(root / "train/cat/0.png", "./train/cat/0.png")
    assert len(listing(path).names) == 10
    assert pixels(ImageFolder(path, 8))[0, :, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("splits", [["train"], ["train", "test"], ["test"]])
def test_empty_class_folder_is_an_error_that_names_it(make_folder: MakeFolder, kind: str, splits: list[str]) -> None:
    root = make_folder(classes=("bird", "cat", "dog"))
    for split in splits:
        shutil.rmtree(root / split / "cat")
        (root / split / "cat").mkdir()
        (root / split / "cat" / "notes.txt").write_text("no image")
        with (root / split / "cat" / ".hidden.png").open("wb"):
            pass
    with pytest.raises(DataError, match=rf"no images in .*{splits[0]}/cat/"):
        listing(as_kind(root, kind))


def test_hidden_folder_is_no_class(make_folder: MakeFolder) -> None:
    root = make_folder()
    (root / "train" / ".ipynb_checkpoints").mkdir()
    assert [listing(as_kind(root, kind)).classes for kind in ("directory", "zip")] == [["cat", "dog"]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_class_missing_from_a_split_is_an_error_that_names_both(make_folder: MakeFolder, kind: str) -> None:
    root = make_folder()
    shutil.rmtree(root / "test" / "dog")
    with pytest.raises(DataError, match=r"train and test in .* have different classes; .* only one has dog. Add what"):
        listing(as_kind(root, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_single_class_is_an_error_that_names_it(make_folder: MakeFolder, kind: str) -> None:
    with pytest.raises(DataError, match=r"only one class in .*: cat; a classifier needs two or more"):
        listing(as_kind(make_folder(classes=("cat",)), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_no_train_folder_is_an_error_that_says_what_is_expected(make_folder: MakeFolder, kind: str) -> None:
    with pytest.raises(DataError, match=r"no images in .*photos.* as train/<class>/<image>, but test/"):
        listing(as_kind(make_folder(splits={"test": 2}), kind))


def test_missing_root_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at .*nowhere"):
        ImageFolder(tmp_path / "nowhere", 8)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_truncated_archive_is_an_error_that_names_it(make_folder: MakeFolder, kind: str) -> None:
    path = as_kind(make_folder(), kind)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)
    with pytest.raises(DataError, match=rf"photos{SUFFIXES[kind]} is damaged or not complete"):
        listing(path)


def test_unreadable_file_is_given_as_its_error_not_raised(make_folder: MakeFolder) -> None:
    root = make_folder()
    (root / "train/dog/1.png").write_text("just text")
    source = ImageFolder(root, 8)
    row = source.listing().names.index("train/dog/1.png")
    assert [number for number, image in source.images() if isinstance(image, Exception)] == [row]


def test_zip_without_folder_entries_is_read(make_folder: MakeFolder) -> None:
    root = make_folder()
    with zipfile.ZipFile(root.parent / "flat.zip", "w") as archive:
        for name in listing(root).names:
            archive.write(root / name, name)
    assert listing(root.parent / "flat.zip").names == listing(root).names
