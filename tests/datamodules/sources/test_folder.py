"""Class folders, in a directory or an archive, become one listing and the same images."""

from __future__ import annotations

import gc
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.cache_building import open_or_pack
from datamodules.errors import DataError
from datamodules.sources import folder
from datamodules.sources.files import Load
from datamodules.sources.folder import ImageFolder, Reading
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


def test_a_look_leaves_the_garbage_collector_as_it_was(make_folder: MakeFolder) -> None:
    root = make_folder()
    ImageFolder(root, 8).listing()
    (empty := root.with_name("empty")).mkdir()
    with pytest.raises(DataError, match="no images"):
        ImageFolder(empty, 8).listing()
    assert gc.isenabled()


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
    (root / "train/cat/0.png").write_bytes(good[:50])  # to be repaired
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
    with pytest.raises(DataError, match=rf"photos{SUFFIXES[kind]} is damaged or incomplete"):
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


@pytest.mark.parametrize(("side", "expected"), [(8, 8), (40, 40), (300, 256)])
def test_the_stored_size_is_that_of_the_images_but_no_larger_than_256(
    make_folder: MakeFolder, side: int, expected: int
) -> None:
    assert ImageFolder(make_folder(splits={"train": 1}, side=side)).stored_size == expected


def test_the_stored_size_is_the_median_of_the_shorter_sides(make_folder: MakeFolder) -> None:
    root = make_folder(splits={"train": 5})  # ten of 8 pixels
    Image.new("RGB", (90, 100)).save(root / "train/cat/0.png")
    (root / "train/cat/1.png").write_text("no image")
    assert ImageFolder(root).stored_size == 8
    for number in range(2, 5):
        Image.new("RGB", (200, 90)).save(root / f"train/cat/{number}.png")
    for number in range(3):
        Image.new("RGB", (70, 90)).save(root / f"train/dog/{number}.png")
    assert ImageFolder(root).stored_size == 70  # of 8 8 | 70 70 70 | 90 90 90 90


def test_files_that_come_and_go_while_packing_shift_no_label(
    make_folder: MakeFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "WAITING", 1)
    root = make_folder(splits={"train": 20})
    source = ImageFolder(root, 8)
    names = source.listing().names
    expected = [np.asarray(Image.open(root / name)).transpose(2, 0, 1) for name in names]
    found: dict[int, object] = {}
    for row, image in source.images():
        if not found:
            Image.new("RGB", (8, 8)).save(root / "train/cat/00.png")  # before all others
            (root / "train/dog/7.png").unlink()
        found[row] = image
    gone = names.index("train/dog/7.png")
    assert sorted(found) == list(range(40))
    assert isinstance(found.pop(gone), FileNotFoundError)
    for row, image in found.items():
        assert np.array_equal(image, expected[row])
    assert "photos changed while they were packed" in caplog.text


def test_what_stays_as_it_is_gives_no_warning(make_folder: MakeFolder, caplog: pytest.LogCaptureFixture) -> None:
    list(ImageFolder(make_folder(), 8).images())
    assert caplog.text == ""


def test_files_in_memory_are_bounded_by_their_bytes(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageFolder(make_folder(splits={"train": 30}), 8)
    largest = max(entry.size for entry in source._entries)
    monkeypatch.setattr(folder, "WAITING_BYTES", 3 * largest)
    asked = yielded = most = 0
    real = source.files.loads

    def loads(names: Iterable[str]) -> Iterator[tuple[str, Load]]:
        nonlocal asked, most
        for each in real(names):
            asked += 1
            most = max(most, asked - yielded)
            yield each

    monkeypatch.setattr(source.files, "loads", loads)
    for _ in source.images():
        yielded += 1
    assert yielded == 60
    assert most <= 3 * largest // min(entry.size for entry in source._entries) + 2


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_and_clutter_are_alike_in_all_kinds(make_folder: MakeFolder, kind: str) -> None:
    root = make_folder()
    for clutter in ("train/.ipynb_checkpoints/0.png", "train/cat/@eaDir/0.png/thumb.png", "__MACOSX/train/cat/._0.png"):
        (root / clutter).parent.mkdir(parents=True)
        (root / clutter).write_bytes(b"")
    found = listing(as_kind(root, kind))
    assert (found.classes, found.split_sizes) == (["cat", "dog"], {"train": 6, "val": 0, "test": 4})


def test_a_cache_inside_the_root_changes_nothing(make_folder: MakeFolder) -> None:
    root = make_folder()
    log: list[str] = []
    caches = {
        open_or_pack(ImageFolder(root), "photos", root / "packed", False, log.append, False).folder for _ in range(3)
    }
    assert len(caches) == len(log) == 1


def test_notes_beside_the_images_change_nothing(make_folder: MakeFolder) -> None:
    root = make_folder()
    before = ImageFolder(root).fingerprint()
    (root / "train/notes.txt").write_text("edited")
    assert ImageFolder(root).fingerprint() == before


def test_other_bytes_of_one_size_and_time_are_noticed(make_folder: MakeFolder) -> None:
    root = make_folder()
    before = ImageFolder(root).fingerprint()
    for path in root.rglob("*.png"):
        times = path.stat()
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ImageFolder(root).fingerprint() != before


def test_a_corrected_table_changes_the_fingerprint(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, table = make_folder(), tmp_path / "labels.csv"
    prints = []
    for label in ("cat", "dog"):
        table.write_text(f"path,label\ntrain/cat/0.png,{label}\ntrain/cat/1.png,cat\ntrain/dog/1.png,dog\n")
        prints.append(ImageFolder(root, reading=Reading(table)).fingerprint())
    assert prints[0] != prints[1]
