"""CIFAR-10: the official files, their absence, and the real images if available."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from datamodules.datamodule import ImageData
from datamodules.errors import DataError
from datamodules.sources.cifar10 import CIFAR10, CLASSES

REAL = Path(__file__).parents[4] / "shared" / "data" / "cifar10-jpeg.zip"


def test_failed_download_is_an_error_that_says_how_to_get_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")  # nobody listens on port 9
    with pytest.raises(DataError) as caught:
        CIFAR10(tmp_path / "data").listing()
    message = str(caught.value)
    assert message.startswith(f"CIFAR-10 is not in {tmp_path / 'data'} and could not be downloaded (")
    assert "run `python -m lightning_app prepare` with the same options on a login node" in message
    assert "fetch http://127.0.0.1:9/cifar.tar.gz where there is a network, and unpack it into" in message
    assert message.endswith("or set data.root to a .zip of train/<class>/ and test/<class>/ images.")


def test_root_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"CIFAR-10 is not in .*file/data and could not be downloaded"):
        CIFAR10(tmp_path / "file" / "data").listing()


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in the official layout with two images each, and torchvision told their checksums."""
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()

    def write(name: str, content: dict[str, object]) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batches(train: bool) -> Iterator[list[str]]:
        for number in range(5 if train else 1):
            name = f"data_batch_{number + 1}" if train else "test_batch"
            pixels = np.full((2, 3, 32, 32), number if train else 9, dtype=np.uint8)
            pixels[:, 1, 0, 5] = 77
            yield [name, write(name, {"data": pixels.reshape(2, -1), "labels": [number, 9]})]

    meta = write("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": meta})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", list(batches(train=True)))
    monkeypatch.setattr(datasets.CIFAR10, "test_list", list(batches(train=False)))
    return tmp_path


def test_official_files_become_channels_first_images_train_before_test(official: Path) -> None:
    rows, images = zip(*CIFAR10(official).images(), strict=True)
    pixels = np.stack(images)
    assert rows == tuple(range(12))
    assert (pixels.shape, pixels.dtype) == ((12, 3, 32, 32), np.uint8)
    assert pixels[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 9, 9]
    assert (pixels[:, 1, 0, 5] == 77).all()
    assert CIFAR10(official).listing().labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 0, 9]


def test_the_official_files_need_no_look_to_be_known(tmp_path: Path) -> None:
    assert CIFAR10(tmp_path).fingerprint() == {"source": "cifar10", "edition": "official"}


def test_classes_are_in_torchvision_s_order(official: Path) -> None:
    assert datasets.CIFAR10(str(official), train=False).classes == CLASSES


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="the real images are not at hand: shared/data/cifar10-jpeg.zip")
def test_real_images_are_all_packed(tmp_path: Path) -> None:
    data = ImageData("cifar10", str(REAL), cache_dir=str(tmp_path), val_fraction=0)
    data.setup("fit")
    assert data.packed.images.shape == (60_000, 3, 32, 32)
    assert data.packed.classes == CLASSES
    assert np.bincount(data.packed.labels[data.indices["train"]]).tolist() == [5000] * 10
    assert np.bincount(data.packed.labels[data.indices["test"]]).tolist() == [1000] * 10
    assert data.packed.meta["skipped"] == 0
