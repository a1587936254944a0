"""Images in .parquet files become the listing and the pixels of class folders."""

from __future__ import annotations

import io
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.errors import DataError
from datamodules.sources.files import Directory, open_files
from datamodules.sources.files import parquet as subject
from datamodules.sources.files.parquet import class_folder, folder_of, tables_in
from datamodules.sources.folder import ImageFolder

NAMES = ["owl", "cat"]  # not in alphabetical order, which Hugging Face does not require of labels


def pixels(name: str) -> np.ndarray:
    """A different image for each name, uint8 [8, 8, 3]."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(name: str) -> bytes:
    Image.fromarray(pixels(name)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def write(file: Path, columns: dict[str, list[Any]], names: list[str] | None = None) -> None:
    """A file as datasets.to_parquet writes it, in groups of two rows."""
    pyarrow = pytest.importorskip("pyarrow", reason="no pyarrow: pip install pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, file, row_group_size=2)


def images(*names: str) -> list[dict[str, Any]]:
    return [{"bytes": png(name), "path": f"{name}.png"} for name in names]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of five training images in two parts, and one of validation."""
    data = tmp_path / "pets" / "data"
    write(data / "train-00000-of-00002.parquet", {"image": images("a", "b", "c"), "label": [1, 0, 1]}, NAMES)
    write(data / "train-00001-of-00002.parquet", {"image": images("d", "e"), "label": [0, 0]}, NAMES)
    write(data / "validation-00000-of-00001.parquet", {"image": images("f", "g"), "label": [0, 1]}, NAMES)
    (tmp_path / "pets/README.md").write_text("A card.")
    return tmp_path / "pets"


def test_splits_classes_labels_and_pixels_are_those_of_the_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "BATCH_ROWS", 2)
    source = ImageFolder(root)
    found = source.listing()
    assert found.classes == ["cat", "owl"]
    assert found.split_sizes == {"train": 5, "val": 2, "test": 0}
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert found.names[:3] == [
        f"train/{name}.png"
        for name in (
            "cat/train-00000-of-00002-000000",
            "cat/train-00000-of-00002-000002",
            "owl/train-00000-of-00002-000001",
        )
    ]
    expected = [pixels(name).transpose(2, 0, 1) for name in "acbdegf"]
    np.testing.assert_array_equal(np.stack([image for _, image in sorted(source.images())]), expected)


def test_a_change_of_any_part_changes_the_fingerprint(root: Path) -> None:
    before = ImageFolder(root).fingerprint()
    assert ImageFolder(root).fingerprint() == before
    write(root / "data/train-00001-of-00002.parquet", {"image": images("d", "x"), "label": [0, 0]}, NAMES)
    assert ImageFolder(root).fingerprint() != before


def test_without_names_of_classes_and_splits_the_labels_are_the_classes_and_test_is_split_off(tmp_path: Path) -> None:
    columns = {"picture": [png(str(row)) for row in range(10)], "Target": ["a/b", "c"] * 5}
    write(tmp_path / "0000.parquet", columns)
    found = ImageFolder(tmp_path).listing()
    assert found.classes == ["a∕b", "c"]  # noqa: RUF001 - a division slash, which no path is cut at
    assert found.split_sizes == {"train": 8, "val": 0, "test": 2}


def test_rows_without_label_are_left_out_and_rows_without_bytes_are_unreadable(root: Path) -> None:
    rows = {"image": [*images("h"), {"bytes": None, "path": "i.png"}, *images("j")], "label": [0, 1, -1]}
    write(root / "data/test-00000-of-00001.parquet", rows, NAMES)
    source = ImageFolder(root)
    assert source.listing().split_sizes["test"] == 2
    assert source.listing().ignored == [("test/test-00000-of-00001-000002.png", "not in a class folder of the root")]
    bad = [str(image) for _, image in source.images() if isinstance(image, Exception)]
    assert bad == ["no bytes in the table"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": ["a"], "label": [0]}, "found none) and a column of classes"),
        ({"image": [b"x"], "mask": [b"y"], "label": [0]}, r"found image, mask"),
        ({"image": [b"x"], "fine": [0]}, "labels; found none)"),
    ],
)
def test_columns_that_are_not_one_of_images_and_one_of_classes_are_named(
    columns: dict[str, list[Any]], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "train.parquet", columns)
    with pytest.raises(DataError, match="has the columns") as error:
        ImageFolder(tmp_path).listing()
    assert said in str(error.value)


def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="no pyarrow: pip install pyarrow")
    (tmp_path / "train.parquet").write_bytes(b"PAR1xxxxPAR1")
    with pytest.raises(DataError, match=r"train\.parquet is damaged or incomplete"):
        ImageFolder(tmp_path).listing()


def test_without_a_reader_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train.parquet").touch()
    with pytest.raises(DataError, match=r"pip install 'laptop-to-cluster\[parquet\]'"):
        open_files(tmp_path)


def test_tables_beside_folders_are_no_data_set_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "labels.parquet").touch()
    assert isinstance(open_files(tmp_path), Directory)
    (tmp_path / "train/cat/a.parquet").touch()
    assert tables_in(tmp_path / "train") == [tmp_path / "train/cat/a.parquet"]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("train-00000-of-00012-0b1c2d3e4f.parquet", "train/"),
        ("cifar10-test.parquet", "cifar10/test/"),
        ("0003.parquet", ""),
        ("validation.parquet", "validation/"),
    ],
)
def test_the_words_of_a_name_are_folders(name: str, folder: str) -> None:
    assert folder_of(Path("data") / name) == folder


def test_a_label_that_names_no_class_is_in_no_folder() -> None:
    folders = [class_folder(value, NAMES) for value in (1, -1, 2, None)]
    assert folders == ["cat/", "", "", ""]
    assert [class_folder(value, None) for value in (7, None)] == ["7/", ""]
