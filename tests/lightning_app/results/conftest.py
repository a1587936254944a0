"""A finished run whose parts all differ: val from test, sizes from each other, exported weights from the last ones."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lightning_app.results.finished_run import FinishedRun

CLASSES = ["cat", "dog"]


def measured(confusion: list[list[int]], confidence: list[float], correct: list[bool], loss: float) -> dict[str, Any]:
    """What the model keeps of a split."""
    counts = torch.tensor(confusion)
    labels = torch.zeros(len(correct), dtype=torch.int64)
    return {
        "acc": counts.trace() / counts.sum(),
        "loss": torch.tensor(loss),
        "per_class": counts.diagonal() / counts.sum(dim=1),
        "confusion": counts,
        "confidence": torch.tensor(confidence),
        "labels": labels,
        "predicted": torch.where(torch.tensor(correct), labels, labels + 1),
    }


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    """6 of 8 validation images and 7 of 10 test images are correct; the weights of step 30 of 50 were exported."""
    folder = tmp_path / "my runs/tiny/version_3"
    folder.mkdir(parents=True)
    val = measured([[4, 0], [2, 2]], [0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.5)
    test = measured([[5, 1], [2, 2]], [0.95, 0.45, 0.35], [True, False, False], float("inf"))
    model: Any = SimpleNamespace(
        hparams={"weights": "somewhere/initial.safetensors"},
        backbone="resnet18",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        results={"val": val, "test": test},
    )
    packed = SimpleNamespace(classes=CLASSES, images=np.zeros((1, 3, 48, 48), np.uint8), folder=Path("packed/pets"))
    data: Any = SimpleNamespace(packed=packed, image_sizes=[24, 32], eval_size=40, batch_size=16)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(
        strategy=strategy, world_size=2, precision="32-true", global_step=50, current_epoch=5, loggers=[]
    )
    hparams = {"model.backbone": "resnet18"}
    return FinishedRun(trainer, model, data, folder, 3, 30, 123.4, time.time() - 60, hparams)
