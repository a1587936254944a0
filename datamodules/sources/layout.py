"""What folders say about their images: split and class. Pure functions of one listing.

    train/<class>/*, test/<class>/* and perhaps val/<class>/*, under any of the names in SPLIT_NAMES
    <class>/* alone: test images are split off

Either may be inside one outer folder, or several nested ones, as is common in archives.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.errors import DataError
from datamodules.holdout import held_out
from datamodules.sources.files.directory import CIRCLE
from datamodules.sources.files.entry import Entry
from datamodules.sources.files.tree import Folder, tree_of
from datamodules.sources.naming import IMAGE_SUFFIXES, displayable, is_image, why_not
from datamodules.sources.source import SPLITS

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
EXPECTED = "expected train/<class>/<image> (and test/, optionally val/), or one folder per class"
ENDINGS = f"files ending in {' '.join(IMAGE_SUFFIXES[:8])} ..."
NAMED = 5  # in an error
Row = tuple[str, str, Entry]  # split, class, file


@dataclass
class Layout:
    """What was decided.

    Attributes:
        rows: (split, class, file), ordered by split, class and name.
        notes: what was decided that a user should know, a sentence each.
        ignored: names that are not rows, each with the reason.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def read_layout(root: Path, entries: Iterable[Entry], test_fraction: float) -> Layout:
    """Split and class of every image; without splits, `test_fraction` of each class is split off for test.

    Raises:
        DataError: the folders fit no layout, or more than one.
    """
    entries = list(entries)
    top = tree_of(entries)
    base = find_base(root, top)
    splits = splits_of(base)
    check_listed(root, entries, paths_of(splits) or [base.path])
    layout = read_splits(root, splits, entries) if splits else read_classes(root, base, test_fraction)
    layout.rows = sort_rows(layout.rows)
    check_classes(root, layout.rows if splits else of_train(layout.rows))
    unlisted = [(entry.name, entry.problem) for entry in entries if entry.name.endswith("/") and entry.problem]
    ignored = [(entry.name, why_not(entry.name)) for entry in entries if is_ignored(entry)]
    taken = {entry.name for _, _, entry in layout.rows}
    outside = [image.name for image in top.all_images() if image.name not in taken]
    reason = f"not in a class folder of {base.path or 'the root'}"
    layout.ignored = sorted(unlisted + ignored + [(name, reason) for name in outside])
    return layout


def sort_rows(rows: Iterable[Row]) -> list[Row]:
    """By split, class and name."""
    return sorted(rows, key=lambda row: (SPLITS.index(row[0]), row[1], row[2].name))


def check_listed(root: Path, entries: Iterable[Entry], paths: list[str]) -> None:
    """Raise a DataError for a folder below one of the paths that could not be listed: files may be missing."""
    for entry in entries:
        if entry.name.endswith("/") and entry.problem not in ("", CIRCLE) and entry.name.startswith(tuple(paths)):
            raise DataError(
                f"{root / entry.name} cannot be listed ({entry.problem}); fix its permissions or remove it."
            )


def is_ignored(entry: Entry) -> bool:
    """Whether a name is not an image's and is worth reporting: a hidden folder is, other folders are not."""
    return not is_image(entry.name) and (not entry.name.endswith("/") or why_not(entry.name) == "hidden")


def splits_of(folder: Folder) -> dict[str, list[Folder]]:
    """Maps each split to the direct subfolders that have its name and contain folders."""
    found: dict[str, list[Folder]] = {}
    for name, within in folder.folders.items():
        if name.lower() in SPLIT_NAMES and within.folders and any(within.all_images()):
            found.setdefault(SPLIT_NAMES[name.lower()], []).append(within)
    return found


def holds_splits(root: Path) -> bool:
    """Whether a directory has a folder with a split's name."""
    return root.is_dir() and any(path.name.lower() in SPLIT_NAMES and path.is_dir() for path in root.iterdir())


def find_base(root: Path, top: Folder) -> Folder:
    """The folder whose subfolders are the splits, or the classes.

    Raises:
        DataError: there is none, or more than one.
    """
    if not any(top.all_images()):
        raise DataError(f"no images in {root}: {EXPECTED}, with {ENDINGS}.{empty_folders(top)}")
    data_sets = [folder for folder in top.below() if splits_of(folder)]
    if len(data_sets) > 1:
        found = "; ".join(f"{', '.join(sorted(split_paths(each)))}" for each in data_sets[:NAMED])
        raise DataError(
            f"more than one data set in {root}: {found}. Set data.root to the folder of one of them (unpack an archive "
            "first), or move the others out of it."
        )
    if data_sets:
        return data_sets[0]
    folder = top
    while not folder.images and len(folder.filled()) == 1:
        folder = folder.filled()[0]
    return folder


def split_paths(folder: Folder) -> list[str]:
    """The paths of a folder's splits."""
    return [split.path for splits in splits_of(folder).values() for split in splits]


def read_splits(root: Path, splits: dict[str, list[Folder]], entries: Iterable[Entry]) -> Layout:
    """train/<class>/*, test/<class>/*: subfolders of a class folder belong to its class."""
    for split, folders in splits.items():
        if len(folders) > 1:
            raise DataError(f"{' and '.join(each.path for each in folders)} in {root} are both {split}; keep one.")
    if "train" not in splits:
        raise DataError(f"no images in {root} as train/<class>/<image>, but {', '.join(paths_of(splits))}; {EXPECTED}.")
    classes = [(split, within) for split, (folder,) in splits.items() for within in folder.folders.values()]
    if empty := sorted(folder.path for _, folder in classes if not any(folder.all_images())):
        raise no_images_in(root, empty, entries)
    named = [(split, class_name(folder), folder) for split, folder in classes]
    rows = [(split, label, image) for split, label, folder in named for image in folder.all_images()]
    renamed = {split: folder.path for split, (folder,) in splits.items() if folder.name != split}
    return Layout(rows, [f"{displayable(path)} is read as {split}" for split, path in sorted(renamed.items())])


def no_images_in(root: Path, empty: list[str], entries: Iterable[Entry]) -> DataError:
    """The error for empty class folders, with what the first one holds instead of images."""
    names = [entry.name for entry in entries if entry.name.startswith(empty[0]) and not entry.name.endswith("/")]
    others = Counter(map(why_not, names))
    found = f" (found: {', '.join(f'{count} {reason}' for reason, count in others.items())})" if others else ""
    return DataError(
        f"no images in {', '.join(empty)} of {root}{found}; remove the empty class folders from all splits, or fill "
        f"them with {ENDINGS}."
    )


def paths_of(splits: dict[str, list[Folder]]) -> list[str]:
    """All folders that are splits."""
    return sorted(folder.path for folders in splits.values() for folder in folders)


def read_classes(root: Path, base: Folder, test_fraction: float) -> Layout:
    """<class>/* without splits: test images are chosen by a hash of their names, so they stay when others are added."""
    folders = base.filled()
    if not folders:
        if base.path and base.name.lower() not in SPLIT_NAMES and not base.path.removesuffix("/").count("/"):
            raise one_class(root, base.name)
        raise DataError(f"the images of {root} are in no class folder; {EXPECTED}, or a table of labels (data.table).")
    if all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        raise DataError(
            f"{', '.join(folder.path for folder in folders)} of {root} hold images, but no class folders; {EXPECTED}, "
            "or a table of labels (data.table)."
        )
    deeper = [folder.path for folder in folders if not folder.images]
    if deeper:
        raise DataError(
            f"no images directly in {', '.join(deeper[:NAMED])} of {root}, and no train/ beside them; {EXPECTED}."
        )
    named = [(class_name(folder), folder) for folder in folders]
    members = [(label, image) for label, folder in named for image in folder.all_images()]
    names = [image.name.removeprefix(base.path) for _, image in members]
    test = held_out([label for label, _ in members], names, test_fraction, "test")
    rows = [("test" if in_test else "train", *member) for member, in_test in zip(members, test, strict=True)]
    return Layout(rows, [split_off_note(test_fraction)])


def split_off_note(test_fraction: float) -> str:
    """The note for test images that are chosen for the user."""
    return (
        f"no test/ in the data: {test_fraction:.0%} of each class become test images, chosen by a hash of their names "
        "(data.test_fraction)"
    )


def class_name(folder: Folder) -> str:
    """A folder's class name, writable everywhere; both Unicode forms of an accented letter give one name."""
    return displayable(unicodedata.normalize("NFC", folder.name))


def empty_folders(top: Folder) -> str:
    """A sentence that names the folders without images, if there are any."""
    names = [folder.path for folder in top.below() if folder.path][:NAMED]
    return f" Found the folders {', '.join(names)}." if names else ""


def of_train(rows: Iterable[Row]) -> list[Row]:
    """What to check for splits that we made: a class with one image is only in train."""
    return [row for row in rows if row[0] == "train"]


def check_classes(root: Path, rows: Iterable[Row]) -> None:
    """Raise a DataError if splits have different classes, or there are fewer than two."""
    found: dict[str, set[str]] = {}
    for split, label, _ in rows:
        found.setdefault(split, set()).add(label)
    if "train" not in found:
        raise DataError(f"no training images in {root}; {EXPECTED}.")
    for split, labels in found.items():
        if labels != found["train"]:
            only_here = ", ".join(sorted(labels ^ found["train"]))
            raise DataError(
                f"train and {split} in {root} have different classes; expected the same in both, but only one "
                f"has {only_here}. Add what is missing to the other, or remove it here."
            )
    if len(found["train"]) < 2:
        raise one_class(root, found["train"].pop())


def one_class(root: Path, name: str) -> DataError:
    """The error for data that needs no classifier."""
    return DataError(
        f"only one class in {root}: {name}; a classifier needs two or more. Add a folder of images for each other "
        "class to every split, for example one for everything else."
    )
