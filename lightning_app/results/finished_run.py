"""A finished fit, as seen by everything that describes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from datamodules.datamodule import ImageData
from models.classifier import ImageClassifier
from models.metrics.evaluation_metrics import scalars


@dataclass(frozen=True)
class FinishedRun:
    """A finished fit. The model has the exported weights, and `model.results` what was measured with them.

    Attributes:
        folder: <runs_dir>/<name>/version_<n>.
        epoch: epochs up to the exported weights.
        step: optimizer steps up to the exported weights; training may have continued after them.
        images_per_second: median over the training steps, if any was measured.
        started: `time.time()` at the start of the program.
        hparams: what distinguishes this run from others, by name.
    """

    trainer: Trainer
    model: ImageClassifier
    data: ImageData
    folder: Path
    epoch: int
    step: int
    images_per_second: float | None
    started: float
    hparams: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Wall time since the start of the program."""
        return time.time() - self.started

    @property
    def split(self) -> str | None:
        """The split of the final metrics: test, or else val, or else nothing was measured."""
        return next((split for split in ("test", "val") if split in self.model.results), None)

    def metrics(self) -> dict[str, float]:
        """All final scalars by name, for example test/acc."""
        results = self.model.results.items()
        return {f"{split}/{name}": float(value) for split, found in results for name, value in scalars(found).items()}
