"""What folders say: splits under their usual names, class folders only, and what is refused or left out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.sources.files import Entry
from datamodules.sources.files.directory import CIRCLE
from datamodules.sources.layout import Layout, read_layout

ROOT = Path("photos")


def tree(*splits: str, classes: Iterable[str] = ("cat", "dog"), count: int = 2) -> list[str]:
    """<split>/<class>/<n>.jpg, or <class>/<n>.jpg for the split ""."""
    folders = [f"{split}/{name}".removeprefix("/") for split in splits or ("",) for name in classes]
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(count)]


def layout(names: Iterable[str | Entry], test_fraction: float = 0.2) -> Layout:
    """Of files by name."""
    return read_layout(ROOT, [name if isinstance(name, Entry) else Entry(name) for name in names], test_fraction)


def splits(found: Layout) -> dict[str, int]:
    """Images of each split."""
    return dict(Counter(split for split, _, _ in found.rows))


def classes(found: Layout) -> list[str]:
    """Class names."""
    return sorted({label for _, label, _ in found.rows})


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train", "test"], {"train": 4, "test": 4}),
        (["train", "valid", "test"], {"train": 4, "val": 4, "test": 4}),  # Roboflow
        (["train", "validation"], {"train": 4, "val": 4}),  # Keras
        (["Training", "Test"], {"train": 4, "test": 4}),  # fruits-360
        (["training", "validation", "testing"], {"train": 4, "val": 4, "test": 4}),
        (["TRAIN", "VAL"], {"train": 4, "val": 4}),
    ],
)
def test_splits_have_many_names_and_other_names_are_said(folders: list[str], expected: dict[str, int]) -> None:
    found = layout(tree(*folders))
    assert splits(found) == expected
    assert classes(found) == ["cat", "dog"]
    renamed = [name for name in folders if name not in ("train", "val", "test")]
    assert [note.split("/ is read as ")[0] for note in found.notes] == sorted(
        renamed, key=lambda name: name.lower()[:2]
    )


@pytest.mark.parametrize("outer", ["photos", "archive/versions/1"])
def test_outer_folders_make_no_difference(outer: str) -> None:
    plain, nested = layout(tree("train", "test")), layout(f"{outer}/{name}" for name in tree("train", "test"))
    assert [(split, label, f"{outer}/{entry.name}") for split, label, entry in plain.rows] == [
        (split, label, entry.name) for split, label, entry in nested.rows
    ]


@pytest.mark.parametrize(
    "names",
    [
        [*tree("pets/train", "pets/test"), *tree("pets_backup/train", "pets_backup/test")],
        [*tree("train", "test"), *tree("old/train")],
        [*tree("train", "test"), *tree("photos/train", "photos/test")],  # a copy of itself
        tree("train/train", "train/test"),  # train.zip
    ],
)
def test_more_than_one_data_set_is_refused_and_named(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"more than one data set in photos: .*train/.*; .*train/"):
        layout(names)


def test_two_names_for_one_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"(val/ and valid/|valid/ and val/) in photos are both val; keep one"):
        layout(tree("train", "val", "valid"))


def test_what_lies_beside_the_splits_is_left_out_and_said() -> None:
    found = layout([*tree("photos/train", "photos/test"), "docs/figure.png", "photos/train/loose.jpg", "README.md"])
    assert splits(found) == {"train": 4, "test": 4}
    assert found.ignored == [
        ("README.md", "not images (.md)"),
        ("docs/figure.png", "not in a class folder of photos/"),
        ("photos/train/loose.jpg", "not in a class folder of photos/"),
    ]


def test_a_split_without_class_folders_is_left_out_and_said() -> None:
    found = layout([*tree("train"), "test/1.jpg", "val/2.jpg"])
    assert splits(found) == {"train": 4}
    assert sorted(name for name, _ in found.ignored) == ["test/1.jpg", "val/2.jpg"]


def test_class_folders_alone_give_train_and_test_by_class() -> None:
    found = layout([*tree(classes=("rose",), count=10), *tree(classes=("daisy",), count=20)])
    assert Counter(row[:2] for row in found.rows) == {
        ("train", "daisy"): 16,
        ("train", "rose"): 8,
        ("test", "daisy"): 4,
        ("test", "rose"): 2,
    }
    [note] = found.notes
    assert note.startswith("no test/ in the data: 20% of each class")
    assert note.endswith(" (data.test_fraction)")


def test_an_image_more_moves_at_most_one_of_the_test_images() -> None:
    names = tree(count=50)
    before, after = (
        {row[2].name for row in layout(each).rows if row[0] == "test"} for each in (names, [*names, "cat/new.jpg"])
    )
    assert len(before - after) <= 1
    assert {name for name in before if name.startswith("dog")} <= after


def test_the_test_images_do_not_depend_on_the_outer_folder() -> None:
    plain, nested = layout(tree(count=20)), layout(f"outer/{name}" for name in tree(count=20))
    assert [row[0] for row in plain.rows] == [row[0] for row in nested.rows]


def test_fraction_zero_splits_no_test_images_off() -> None:
    assert splits(layout(tree(), test_fraction=0)) == {"train": 4}


def test_a_class_may_be_called_train() -> None:
    assert classes(layout(tree("train", "test", classes=("bus", "train")))) == ["bus", "train"]
    assert classes(layout(tree(classes=("bus", "train")))) == ["bus", "train"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.jpg", "2.jpg"], "are in no class folder"),
        (["train/1.jpg", "train/2.jpg"], "are in no class folder"),
        (["train/cat.1.jpg", "test/2.jpg"], "hold images, but no class folders"),  # dogs-vs-cats
        (tree("seg_train/seg_train", "seg_test/seg_test"), "no images directly in seg_train/, seg_test/"),  # Intel
        (tree("test"), "no images in photos as train/<class>/<image>, but test/"),
        (["notes.txt", "a/"], "no images in photos: expected train/<class>/<image>.* Found the folders a/"),
        (tree(classes=("cat",)), "only one class in photos: cat"),
    ],
)
def test_what_fits_no_layout_says_what_was_found(names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        layout(names)


def test_an_empty_class_folder_says_what_is_in_it_instead() -> None:
    with pytest.raises(DataError, match=r"no images in train/owl/ of photos \(found: 2 not images \(\.txt\)\)"):
        layout([*tree("train"), "train/owl/", "train/owl/1.txt", "train/owl/2.txt"])


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "@eaDir", "__MACOSX"])
@pytest.mark.parametrize("place", ["", "train/", "train/cat/"])
def test_hidden_folders_are_no_classes_and_have_no_images(hidden: str, place: str) -> None:
    found = layout([*tree("train", "test"), f"{place}{hidden}/", f"{place}{hidden}/cat/1.jpg"])
    assert (splits(found), classes(found)) == ({"train": 4, "test": 4}, ["cat", "dog"])
    assert ("hidden", 2) in Counter(reason for _, reason in found.ignored).items()


def test_a_folder_named_as_an_image_is_a_folder() -> None:
    assert splits(layout([*tree("train"), "train/cat/holiday.jpg/", "train/cat/holiday.jpg/1.jpg"])) == {"train": 5}


def test_both_ways_to_write_an_accent_are_one_class() -> None:
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    found = layout([*tree("train", classes=(forms[0], "tea")), *tree("test", classes=(forms[1], "tea"))])
    assert classes(found) == ["caf\u00e9", "tea"]


def test_a_class_whose_name_is_not_utf_8_is_escaped() -> None:
    assert classes(layout(tree("train", classes=("caf\udce9", "tea")))) == ["caf\\xe9", "tea"]


@pytest.mark.parametrize("folder", ["train/", "train/cat/", "train/owl/"])
def test_a_folder_of_a_split_that_cannot_be_listed_is_an_error(folder: str) -> None:
    with pytest.raises(DataError, match=f"photos/{folder[:-1]}.* cannot be listed \\(Permission denied\\)"):
        layout([*tree("train", "test"), Entry(folder, problem="Permission denied")])


def test_what_need_not_be_listed_is_left_out_and_said() -> None:
    found = layout([*tree("train"), Entry("private/", problem="Permission denied"), Entry("train/up/", problem=CIRCLE)])
    assert found.ignored == [("private/", "Permission denied"), ("train/up/", CIRCLE)]
