"""Examples are chosen automatically, and are what was tested."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.datamodule import ImageData
from datamodules.sources.decoding import decode_image
from lightning_app.results.examples import HITS, MISSES, as_png, choose_examples, interleave_classes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """The digits."""
    data = ImageData("digits", cache_dir=str(tmp_path_factory.mktemp("packed")))
    data.prepare_data()
    return data


def outcomes(data: ImageData, wrong: int) -> dict[str, torch.Tensor]:
    """A test's outcomes with the first `wrong` images predicted as the next digit."""
    indices = data.indices["test"]
    labels = torch.from_numpy(data.packed.labels)[indices]
    predicted = torch.where(torch.arange(len(indices)) < wrong, (labels + 1) % 10, labels)
    return {
        "indices": indices,
        "labels": labels,
        "predicted": predicted,
        "confidence": torch.full((len(indices),), 0.75),
    }


def test_the_first_of_each_class_come_before_the_second_of_any() -> None:
    labels = np.array([1, 1, 0, 2, 1, 0])
    assert interleave_classes(labels, labels >= 0) == [2, 0, 3, 5, 1, 4]
    assert interleave_classes(labels, labels == 1) == [0, 1, 4]


@pytest.mark.parametrize(("wrong", "misses"), [(0, 0), (3, 3), (100, MISSES)])
def test_hits_and_misses_are_test_images_with_their_true_answers(wrong: int, misses: int, data: ImageData) -> None:
    entries, pictures = choose_examples(data, outcomes(data, wrong))
    right = [entry["label"] == entry["predicted"] for entry in entries]
    assert right == [True] * HITS + [False] * misses
    assert [entry["file"] for entry in entries] == list(pictures)
    names, test_rows = data.packed.names(), set(data.indices["test"].tolist())
    for entry in entries:
        row = names.index(entry["name"])
        assert row in test_rows
        assert entry["label"] == data.packed.classes[data.packed.labels[row]]
        assert np.array_equal(decode_image(pictures[entry["file"]], 8), data.packed.images[row])


def test_without_a_test_there_are_none(data: ImageData) -> None:
    assert choose_examples(data, None) == ([], {})


def test_a_png_keeps_every_pixel() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert np.array_equal(decode_image(as_png(stored), 16), stored)
