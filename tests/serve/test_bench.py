"""The comparison is of two paths with the same answers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from small_artifact import stored_images

from serve.bench import main, plain_path
from serve.classifier import Classifier


def test_plain_gives_the_answers_of_the_served_path(artifact: Path) -> None:
    stored = stored_images(3)
    torch.testing.assert_close(plain_path(artifact)(stored), Classifier(artifact).probabilities(stored))


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
