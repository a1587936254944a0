"""What a run prints about its data: one line per split, and what was left out, why, and how much of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from datamodules.datamodule import ImageData

MakeFolder = Callable[..., Path]


@pytest.fixture
def data(make_folder: MakeFolder, tmp_path: Path) -> ImageData:
    """A folder with an unlabelled image, notes, a hidden file, and two test images that are training images too."""
    root = make_folder(splits={"train": 10, "test": 2})
    (root / "train/cat/9.png").unlink()
    for name in ("notes.txt", "train/a.txt", "train/b.txt", "train/c.txt", "train/cat/.hidden.png"):
        (root / name).write_text("")
    Image.new("RGB", (8, 8)).save(root / "train/loose.png")
    for number in (0, 1):
        (root / f"test/dog/{number}.png").write_bytes((root / f"train/dog/{number + 3}.png").read_bytes())
    return ImageData("image_folder", str(root), cache_dir=str(tmp_path / "cache"), val_fraction=0.2)


def test_each_split_is_a_line_and_what_is_left_out_another(data: ImageData, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "datamodules"):
        data.setup("fit")
        assert len(data.indices["val"]) == 4
    assert [line for line in caplog.messages if not line.startswith("packing")] == [
        "train: 15 images of 2 classes, 7 (cat) to 8 (dog) each",
        "val: 4 images of 2 classes, 2 each",
        "test: 4 images of 2 classes, 2 each",
        "ignored: 4 not images (.txt) (notes.txt, train/a.txt, train/b.txt, ...); 1 hidden (train/cat/.hidden.png); "
        "1 not in a class folder of the root (train/loose.png)",
        "equal pixels in two splits: 2 images of test are in train too (test/dog/0.png = train/dog/3.png, "
        "test/dog/1.png = train/dog/4.png)",
    ]


def test_the_full_list_names_every_file(data: ImageData, tmp_path: Path) -> None:
    data.write_report(tmp_path / "data.txt")
    text = (tmp_path / "data.txt").read_text()
    assert text.startswith("train: 15 images of 2 classes")
    assert "ignored\ttrain/c.txt\tnot images (.txt)\n" in text
    assert "equal\ttest\ttest/dog/1.png\ttrain\ttrain/dog/4.png\n" in text


def test_a_data_module_prints_without_packing(data: ImageData, tmp_path: Path) -> None:
    assert str(data) == f"ImageData(dataset='image_folder', root='{data.root}', images=not opened yet)"
    assert not (tmp_path / "cache").exists()
    data.setup("fit")
    assert str(data).endswith("images={'train': 15, 'val': 4, 'test': 4})")
