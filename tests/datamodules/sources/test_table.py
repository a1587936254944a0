"""Labels in a table: a path, a label and optionally a split for each image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.sources.files import Entry
from datamodules.sources.layout import Layout
from datamodules.sources.table import MISSING, table_layout

FILES = [Entry(f"images/{number}.jpg") for number in range(10)]


def layout(tmp_path: Path, text: str | bytes, test_fraction: float = 0.2) -> Layout:
    """Of a table over ten files."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return table_layout(Path("photos"), path, [*FILES, Entry("images/"), Entry("notes.txt")], test_fraction)


def rows(found: Layout) -> list[tuple[str, str, str]]:
    return [(split, label, entry.name) for split, label, entry in found.rows]


SPLIT_TABLE = """\
path,label,split
images/3.jpg,cat,train
images/1.jpg,dog,Training
images/2.jpg,dog,valid
images/0.jpg,cat,val
"""
EXPECTED = [
    ("train", "cat", "images/3.jpg"),
    ("train", "dog", "images/1.jpg"),
    ("val", "cat", "images/0.jpg"),
    ("val", "dog", "images/2.jpg"),
]


@pytest.mark.parametrize(
    "text",
    [
        SPLIT_TABLE,
        b"\xef\xbb\xbf" + SPLIT_TABLE.encode(),  # Excel
        SPLIT_TABLE.replace(",", ";"),
        SPLIT_TABLE.replace(",", "\t"),
        SPLIT_TABLE.replace("path,label,split", "Filename, Class ,subset"),
        SPLIT_TABLE.replace("images/", "images\\"),
        SPLIT_TABLE.replace(".jpg", ""),  # Kaggle's ids
        SPLIT_TABLE + "images/3.jpg,cat,train\n",  # twice the same
    ],
)
def test_a_table_says_class_and_split_in_many_ways(tmp_path: Path, text: str | bytes) -> None:
    found = layout(tmp_path, text)
    assert rows(found) == EXPECTED
    assert Counter(reason for _, reason in found.ignored) == {"not in the table": 6, "not images (.txt)": 1}


def test_without_a_split_column_test_images_are_split_off(tmp_path: Path) -> None:
    found = layout(
        tmp_path, "file,label\n" + "".join(f"images/{n}.jpg,{'cat' if n < 5 else 'dog'}\n" for n in range(10))
    )
    assert Counter(row[:2] for row in rows(found)) == {
        ("train", "cat"): 4,
        ("train", "dog"): 4,
        ("test", "cat"): 1,
        ("test", "dog"): 1,
    }
    assert found.notes[0].startswith("no test/ in the data: 20%")


def test_a_file_that_is_not_there_is_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    found = layout(tmp_path, SPLIT_TABLE + "images/gone.jpg,cat,train\n")
    assert [entry for _, _, entry in found.rows if entry.problem] == [Entry("images/gone.jpg", problem=MISSING)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,colour\n1,red\n", r"has the columns name, colour; expected one for the file \(path, or"),
        ("", r"has the columns \(none\); expected"),
        ("path,colour\n1,red\n", "has the columns path, colour; expected"),
        ("name,label\n1,cat\n", "has the columns name, label; expected"),
        ("path,label\n,cat\n", "line 2: expected a path and a label, found '' and 'cat'"),
        ("path,label\nimages/1.jpg,\n", r"line 2: expected a path and a label, found 'images/1.jpg' and ''"),
        (SPLIT_TABLE + "images/3.jpg,dog,train\n", r"line 6: images/3\.jpg is listed twice"),
        ("path,label,split\nimages/1.jpg,cat,holdout\n", r"line 2: the split 'holdout' is not one of train, training"),
        ("path,label,split\nimages/1.jpg,cat,train\nimages/2.jpg,dog,\n", "names the split of some images only"),
        ("path,label\na.jpg,cat\nb.jpg,dog\n", r"none of the 2 files of .* is in photos: a\.jpg, b\.jpg"),
        ("path,label\nimages/1.jpg,cat\nimages/2.jpg,cat\n", "only one class in .*labels.csv: cat"),
        (b"path,label\ncaf\xe9.jpg,cat\n", "is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        layout(tmp_path, text)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.table .*none\.csv cannot be read"):
        table_layout(Path("photos"), tmp_path / "none.csv", FILES, 0.2)
