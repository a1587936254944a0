"""The content of model.json: how to feed the network, what was measured, and where it comes from."""

from __future__ import annotations

import datetime
import math
import platform
from pathlib import Path
from typing import Any

import torch

from lightning_app import __version__
from lightning_app.provenance import cpu_name, git_revision
from lightning_app.results.finished_run import FinishedRun
from lightning_app.results.metrics_table import read_rows
from models.metrics.confidence_threshold import confidence_threshold

CURVES = ("train/loss", "val/loss", "test/loss", "val/acc", "test/acc")
CURVE_POINTS = 200


def model_card(run: FinishedRun) -> dict[str, Any]:
    """Everything in model.json except the examples. JSON has no NaN or infinity, so such metrics are omitted."""
    classes = run.data.packed.classes
    results = {split: found for split, found in run.model.results.items() if split in ("val", "test")}
    return {
        "backbone": run.model.backbone,
        "classes": classes,
        "input_size": run.data.eval_size,
        "stored_size": run.data.packed.images.shape[-1],
        "mean": run.model.mean,
        "std": run.model.std,
        "metrics": {name: value for name, value in run.metrics().items() if math.isfinite(value)},
        "per_class_accuracy": {
            split: dict(zip(classes, found["per_class"].tolist(), strict=True)) for split, found in results.items()
        },
        "confusion": {split: found["confusion"].tolist() for split, found in results.items()},
        "uncertain": uncertainty(run),
        "curves": curves(run.folder / "metrics.csv"),
        "provenance": provenance(run),
    }


def uncertainty(run: FinishedRun) -> dict[str, Any] | None:
    """The confidence below which a prediction is uncertain. From validation: the test split has to choose nothing."""
    found = run.model.results.get("val")
    if found is None:
        return None
    return confidence_threshold(found["confidence"], found["predicted"] == found["labels"])


def curves(metrics_csv: Path) -> dict[str, list[tuple[int, float]]]:
    """Losses and accuracies as (optimizer step, finite value), at most CURVE_POINTS of each."""
    rows = read_rows(metrics_csv)
    found = {name: [(int(row["step"]), float(row[name])) for row in rows if row.get(name)] for name in CURVES}
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in found.items()}
    return {name: points[:: -(-len(points) // CURVE_POINTS)] for name, points in finite.items() if points}


def provenance(run: FinishedRun) -> dict[str, Any]:
    """Where, when and with what the model was trained. Epochs and steps count up to the exported weights."""
    return {
        "program": __version__,
        "git": git_revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": torch.cuda.get_device_name() if run.trainer.strategy.root_device.type == "cuda" else cpu_name(),
        "host": platform.node(),
        "world_size": run.trainer.world_size,
        "precision": run.trainer.precision,
        "epochs": run.epoch,
        "steps": run.step,
        "steps_of_the_run": run.trainer.global_step,
        "seconds": round(run.seconds, 1),
        "images_per_second": run.images_per_second,
        "initial_weights": Path(run.model.hparams["weights"]).name,
        "batch_size": run.data.batch_size,
        "data": run.data.packed.folder.name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
