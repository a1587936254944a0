"""The comparison is of two paths with the same answers."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_artifact import stored_images

from serve.bench import main, pictures, plain_path
from serve.classifier import Classifier


def test_plain_gives_the_answers_of_the_served_path(artifact: Path) -> None:
    stored = stored_images(3)
    torch.testing.assert_close(plain_path(artifact)(stored), Classifier(artifact).probabilities(stored))


def test_a_limit_takes_images_of_every_class(artifact: Path, tmp_path: Path) -> None:
    model = Classifier(artifact)
    for split, count in (("train", 1), ("test", 4)):
        for name in model.classes:
            (folder := tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    options = Namespace(images=tmp_path, limit=2 * len(model.classes))
    contents, labels = pictures(options, model)
    assert Counter(labels) == dict.fromkeys(model.classes, 2)
    assert len(contents) == 2 * len(model.classes)


@pytest.mark.slow
def test_both_are_measured_side_by_side(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--model", str(artifact), "--requests", "10"])
    assert main() == 0
    said = capsys.readouterr().out
    assert re.findall(r"^(plain|served) +[\d.]+ +[\d.]+ +[\d.]+$", said, re.MULTILINE) == ["plain", "served"]
    [(plain, served)] = re.findall(r"correct of 4: plain (\d+), served (\d+);", said)
    assert plain == served
