"""The packed cache holds what the source holds, follows its changes, and reports damage."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.cache_building import open_or_pack
from datamodules.errors import DataError
from datamodules.packed_cache import CHECKED, PackedImages, open_packed, sha256_of, verify
from datamodules.sources.folder import ImageFolder

MakeFolder = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., PackedImages]:
    """Opens or packs a folder in one cache directory; `log` gets the lines."""

    def run(root: Path, size: int = 8, skip_bad: bool = False, log: list[str] | None = None) -> PackedImages:
        lines = [] if log is None else log
        return open_or_pack(ImageFolder(root, size), "photos", tmp_path / "cache", skip_bad, lines.append, False)

    return run


Pack = Callable[..., PackedImages]


def test_cache_holds_images_labels_names_and_splits_of_the_source(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder()
    packed, listing = pack(root), ImageFolder(root, 8).listing()
    assert (packed.images.shape, packed.images.dtype) == ((10, 3, 8, 8), np.uint8)
    assert packed.labels.tolist() == listing.labels.tolist()
    assert packed.labels.dtype == np.int64
    assert packed.names() == listing.names
    assert packed.classes == ["cat", "dog"]
    assert packed.meta["split_sizes"] == {"train": 6, "val": 0, "test": 4}
    expected = [np.asarray(Image.open(root / name)).transpose(2, 0, 1) for name in listing.names]
    assert np.array_equal(packed.images, expected)


def test_splits_are_consecutive_rows(make_folder: MakeFolder, pack: Pack) -> None:
    packed = pack(make_folder(splits={"train": 2, "val": 1, "test": 3}))
    rows = [packed.indices(split).tolist() for split in ("train", "val", "test")]
    assert rows == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11]]


def test_meta_has_the_checksums_of_the_other_files(make_folder: MakeFolder, pack: Pack) -> None:
    packed = pack(make_folder())
    others = [path for path in packed.folder.iterdir() if path.name != "meta.json"]
    assert packed.meta["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}


def test_a_cache_as_it_was_written_passes(make_folder: MakeFolder, pack: Pack) -> None:
    verify(pack(make_folder()))


@pytest.mark.parametrize("name", CHECKED)
def test_one_bit_flipped_anywhere_is_found(name: str, make_folder: MakeFolder, pack: Pack) -> None:
    packed = pack(make_folder())
    content = bytearray((packed.folder / name).read_bytes())
    content[-1] ^= 1
    (packed.folder / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"is damaged: {name} changed")):
        verify(packed)


def lose_names(folder: Path) -> None:
    (folder / "names.json").unlink()


def lose_labels(folder: Path) -> None:
    (folder / "labels.npy").unlink()


def names_as_a_folder(folder: Path) -> None:
    lose_names(folder)
    (folder / "names.json").mkdir()


@pytest.mark.parametrize("damage", [lose_names, lose_labels, names_as_a_folder])
def test_what_cannot_be_read_is_damage_too(make_folder: MakeFolder, pack: Pack, damage: Callable[[Path], None]) -> None:
    packed = pack(make_folder())
    damage(packed.folder)
    with pytest.raises(DataError, match=r"is damaged: (names.json|labels.npy) changed since .* or cannot be read"):
        verify(packed)


@pytest.mark.parametrize("name", CHECKED)
def test_a_checksum_that_is_missing_is_damage_too(name: str, make_folder: MakeFolder, pack: Pack) -> None:
    packed = pack(make_folder())
    del packed.meta["sha256"][name]
    with pytest.raises(DataError, match=f"is damaged: {name} changed"):
        verify(packed)


def test_the_same_data_has_the_same_content_wherever_it_was_packed(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder()

    def content(cache: str) -> str:
        return open_or_pack(ImageFolder(root, 8), "photos", tmp_path / cache, False, print, False).content

    before = content("cache")
    assert content("another") == before
    touch(root)
    assert content("cache") == before


CONTENT_CHANGES = [
    "rewrite",
    "add",
    "remove",
    "correct a label",
    "rename a file",
    "rename a class",
    "move to another split",
]


@pytest.mark.parametrize("change", CONTENT_CHANGES)
def test_other_data_has_another_content(change: str, make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder()
    before = pack(root).content
    if change == "rename a class":
        for split in ("train", "test"):
            (root / split / "dog").rename(root / split / "eel")
    elif change == "move to another split":
        (root / "test").rename(root / "val")
    elif change == "rename a file":  # which may be held out now, or no longer
        (root / "train/cat/0.png").rename(root / "train/cat/00.png")
    else:
        {"rewrite": rewrite, "add": add, "remove": remove, "correct a label": rename}[change](root)
    assert pack(root).content != before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell the path of an open file")
def test_every_file_is_on_the_disk_before_the_cache_gets_its_name(
    make_folder: MakeFolder, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real_fsync(descriptor)

    def rename(old: Path, new: Path) -> None:
        events.append("rename")
        real_rename(old, new)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.rename", rename)
    folder = pack(make_folder()).folder
    before, after = (events[: events.index("rename")], events[events.index("rename") + 1 :])
    synced = {name.removeprefix(".").split(f".{os.getpid()}")[0] for name in before}
    assert {path.name for path in folder.iterdir()} <= synced
    assert after == [folder.parent.name]  # its name is on the disk, too


def test_the_checksum_covers_more_than_the_first_megabyte(tmp_path: Path) -> None:
    content = bytes(3 << 20) + b"the end"
    (tmp_path / "big").write_bytes(content)
    assert sha256_of(tmp_path / "big") == hashlib.sha256(content).hexdigest()


def test_only_the_cache_and_its_lock_are_left(make_folder: MakeFolder, pack: Pack) -> None:
    folder = pack(make_folder()).folder
    beside = {path.name for path in folder.parent.iterdir()} - {f"{folder.name}.lock"}  # which filelock 3.22 removes
    assert beside == {folder.name}
    assert {path.name for path in folder.iterdir()} == {"meta.json", *CHECKED}


def test_unchanged_source_is_not_packed_again(make_folder: MakeFolder, pack: Pack) -> None:
    root, log = make_folder(), list[str]()
    first = pack(root, log=log)
    made = (first.folder / "images.npy").stat()
    again = pack(root, log=log)
    assert again.folder == first.folder
    assert (again.folder / "images.npy").stat() == made
    assert len(log) == 1


def test_pickled_it_is_its_place_and_not_its_pixels(make_folder: MakeFolder, pack: Pack) -> None:
    packed = pack(make_folder(splits={"train": 40, "test": 20}))
    pickled = pickle.dumps(packed)
    assert len(pickled) < 1000 < packed.images.nbytes
    np.testing.assert_array_equal(pickle.loads(pickled).images, packed.images)


def test_changing_the_open_images_leaves_the_file_alone(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder()
    first = pack(root)
    before = first.images.copy()
    first.images[:] = 0
    assert np.array_equal(pack(root).images, before)


def test_another_stored_size_gives_another_cache_and_skipping_does_not(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder()
    folder = pack(root).folder
    assert pack(root, size=6).folder != folder
    assert pack(root, skip_bad=True).folder == folder


def rewrite(root: Path) -> None:
    Image.new("RGB", (8, 8)).save(root / "train/cat/0.png")


def touch(root: Path) -> None:
    os.utime(root / "train/cat/0.png", ns=(1, 1))


def add(root: Path) -> None:
    Image.new("RGB", (8, 8)).save(root / "test/dog/9.png")


def remove(root: Path) -> None:
    (root / "train/dog/2.png").unlink()


def rename(root: Path) -> None:
    (root / "train/dog/2.png").rename(root / "train/cat/7.png")


@pytest.mark.parametrize("change", [rewrite, touch, add, remove, rename])
def test_change_in_the_folder_gives_another_cache(
    make_folder: MakeFolder, pack: Pack, change: Callable[[Path], None]
) -> None:
    root = make_folder()
    before = pack(root)
    change(root)
    after = pack(root)
    assert after.folder != before.folder
    assert after.names() == ImageFolder(root, 8).listing().names


def test_empty_class_folder_added_later_is_noticed(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder()
    pack(root)
    (root / "train/bird").mkdir()
    with pytest.raises(DataError, match="no images in train/bird/"):
        pack(root)


@pytest.fixture
def spoilt(make_folder: MakeFolder) -> Path:
    """A folder with three unreadable files."""
    root = make_folder()
    (root / "train/cat/1.png").write_text("just text")
    (root / "train/dog/0.png").write_bytes(b"")
    whole = (root / "test/dog/1.png").read_bytes()
    (root / "test/dog/1.png").write_bytes(whole[: len(whole) // 2])
    return root


def test_all_unreadable_images_are_named_in_one_error(spoilt: Path, pack: Pack) -> None:
    with pytest.raises(DataError, match=r"^3 of 10 images cannot be read") as caught:
        pack(spoilt)
    named = re.findall(r"^  (\S+\.png): ", str(caught.value), flags=re.MULTILINE)
    assert sorted(named) == ["test/dog/1.png", "train/cat/1.png", "train/dog/0.png"]
    assert "data.on_bad_image: skip" in str(caught.value)


def test_what_was_packed_beside_unreadable_images_is_not_packed_again(
    spoilt: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"^3 of 10 images cannot be read"):
        pack(spoilt)
    monkeypatch.setattr(ImageFolder, "images", lambda self: pytest.fail("packed again"))
    assert pack(spoilt, skip_bad=True).meta["skipped"] == 3
    with pytest.raises(DataError, match=r"^3 of 10 images cannot be read"):
        pack(spoilt)


def test_what_the_system_refused_once_is_tried_again(
    make_folder: MakeFolder, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, real = make_folder(), Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "1.png" and path.parent.name == "cat":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refused)
        with pytest.raises(DataError, match=r"2 of 10 images cannot be read(.|\n)*1\.png: .*Permission denied"):
            pack(root)
    assert pack(root).meta["skipped"] == 0


def test_skipping_may_not_empty_a_class(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder(classes=("cat", "dog", "owl"))
    for path in (root / "train/owl").iterdir():
        path.write_text("just text")
    with pytest.raises(DataError, match=r"3 of 15 images cannot be read(.|\n)*no training image is left of owl"):
        pack(root, skip_bad=True)


def test_long_list_of_unreadable_images_is_cut_and_counted(make_folder: MakeFolder, pack: Pack) -> None:
    root = make_folder(splits={"train": 15})
    for path in root.rglob("*.png"):
        path.write_text("just text")
    with pytest.raises(DataError, match=r"^30 of 30 images cannot be read(.|\n)*\n  and 10 more\n"):
        pack(root)


def test_skipped_images_are_counted_logged_and_in_no_split(spoilt: Path, pack: Pack) -> None:
    log: list[str] = []
    packed = pack(spoilt, skip_bad=True, log=log)
    bad = {row for row, name in enumerate(packed.names()) if name in str(log)}
    assert log[1].startswith("skipping: 3 of 10 images cannot be read")
    assert packed.meta["skipped"] == len(bad) == 3
    assert packed.labels[sorted(bad)].tolist() == [-1, -1, -1]
    assert {row for split in ("train", "val", "test") for row in packed.indices(split)} == set(range(10)) - bad


def truncate(folder: Path) -> None:
    with (folder / "images.npy").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 1)


def empty(folder: Path) -> None:
    (folder / "images.npy").write_bytes(b"")


def lose_images(folder: Path) -> None:
    (folder / "images.npy").unlink()


def lose_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def garble_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": 1, "da')


def empty_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("{}")


def foreign_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[1, 2]")


def other_splits(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"split_sizes": {"train": 1, "val": 0, "test": 0}}))


def fewer_labels(folder: Path) -> None:
    np.save(folder / "labels.npy", np.zeros(3, dtype=np.int64))


def other_shape(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros((10, 3, 4, 4), dtype=np.uint8))


def signed_images(folder: Path) -> None:
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(content.replace(b"|u1", b"|i1", 1))


def images_by_column(folder: Path) -> None:
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(content.replace(b"'fortran_order': False", b"'fortran_order': True ", 1))


def swapped_labels(folder: Path) -> None:
    content = (folder / "labels.npy").read_bytes()
    (folder / "labels.npy").write_bytes(content.replace(b"<i8", b">i8", 1))


def no_checksums(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({key: value for key, value in meta.items() if key != "sha256"}))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        signed_images,
        images_by_column,
        swapped_labels,
        no_checksums,
        lose_names,
        empty,
        lose_images,
        lose_meta,
        garble_meta,
        empty_meta,
        foreign_meta,
        other_splits,
        fewer_labels,
        other_shape,
    ],
)
def test_damaged_cache_is_an_error_that_says_what_to_delete(
    make_folder: MakeFolder, pack: Pack, damage: Callable[[Path], None]
) -> None:
    root = make_folder()
    folder = pack(root).folder
    damage(folder)
    with pytest.raises(DataError, match=rf"the packed cache {re.escape(str(folder))} .*; delete it to build it again"):
        pack(root)


def test_folder_that_is_no_cache_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="delete it to build it again"):
        open_packed(tmp_path)


def test_cache_directory_below_a_file_is_an_error_that_names_it(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*file/cache.*set data\.cache_dir to another place"):
        open_or_pack(ImageFolder(make_folder(), 8), "photos", tmp_path / "file/cache", False, print, False)
