"""What a finished run leaves behind: the artifact, the pictures, HPARAMS, and a summary for people."""

from __future__ import annotations

import datetime
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from datamodules.datamodule import ImageData
from lightning_app import __version__
from lightning_app.provenance import cpu_name, git_revision
from lightning_app.results.examples import choose_examples
from lightning_app.results.loggers import read_rows
from lightning_app.results.plots import confusion_figure, curves_figure
from models.artifact import save_artifact
from models.classifier import ImageClassifier
from models.metrics import scalars
from models.outcomes import confidence_threshold

# What lies in a run's folder, in the order of the summary.
FILES = {
    "config.yaml": "every option of this run; fit --config takes it again",
    "hparams.yaml": "what TensorBoard's HPARAMS tab compares runs by",
    "metrics.csv": "all that was logged, as a table",
    "curves.png": "loss and accuracy over the run",
    "confusion.png": "which classes are taken for which",
    "checkpoints": "weights and optimizer, to continue from",
    "run.json": "whether the run came to its end; if not, the same command goes on with it",
    "model": "the trained model for everything that comes after",
}

CURVES = ("train/loss", "val/loss", "test/loss", "val/acc", "test/acc")
CURVE_POINTS = 200


@dataclass(frozen=True)
class Run:
    """A finished fit.

    Attributes:
        folder: runs/<name>/<version>.
        images_per_second: median over the training steps, if any was measured.
        started: `time.time()` at the start of the process.
    """

    trainer: Trainer
    model: ImageClassifier
    data: ImageData
    folder: Path
    images_per_second: float | None
    started: float

    @property
    def seconds(self) -> float:
        """Wall time since the start of the process."""
        return time.time() - self.started

    @property
    def split(self) -> str | None:
        """The split that the final numbers are of."""
        return next((split for split in ("test", "val") if split in self.model.results), None)

    def metrics(self) -> dict[str, float]:
        """All final scalars, by name."""
        results = self.model.results.items()
        return {f"{split}/{name}": float(value) for split, found in results for name, value in scalars(found).items()}


def leave_behind(run: Run) -> None:
    """Write artifact, pictures and HPARAMS, and print the summary. On rank 0, after the final test."""
    examples, pictures = choose_examples(run.data, run.model.results.get("test"))
    save_artifact(run.folder / "model", run.model.network, card(run) | {"examples": examples}, pictures)
    curves_figure(run.folder / "metrics.csv").savefig(run.folder / "curves.png", dpi=120)
    if run.split:
        counts = run.model.results[run.split]["confusion"].cpu().numpy()
        confusion_figure(counts, run.data.packed.classes).savefig(run.folder / "confusion.png", dpi=120)
    for logger in run.trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters(run), run.metrics(), step=run.trainer.global_step)
            logger.save()
    print(summary(run), flush=True)


def card(run: Run) -> dict[str, Any]:
    """The content of model.json, which knows no NaN and no infinity: what is one is left out."""
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


def uncertainty(run: Run) -> dict[str, Any] | None:
    """Below which confidence the model is uncertain, by the validation images that these weights were chosen with."""
    found = run.model.results.get("val")
    if found is None:
        return None
    return confidence_threshold(found["confidence"], found["predicted"] == found["labels"])


def curves(metrics_csv: Path) -> dict[str, list[tuple[int, float]]]:
    """Losses and accuracies as (optimizer step, finite value), thinned out to what a plot can show."""
    rows = read_rows(metrics_csv)
    found = {name: [(int(row["step"]), float(row[name])) for row in rows if row.get(name)] for name in CURVES}
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in found.items()}
    return {name: points[:: -(-len(points) // CURVE_POINTS)] for name, points in finite.items() if points}


def provenance(run: Run) -> dict[str, Any]:
    """Where, when and with what the model was trained."""
    return {
        "program": __version__,
        "git": git_revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": torch.cuda.get_device_name() if run.trainer.strategy.root_device.type == "cuda" else cpu_name(),
        "host": platform.node(),
        "world_size": run.trainer.world_size,
        "precision": run.trainer.precision,
        "epochs": run.trainer.current_epoch,
        "steps": run.trainer.global_step,
        "seconds": round(run.seconds, 1),
        "images_per_second": run.images_per_second,
        "data": run.data.packed.folder.name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def hyperparameters(run: Run) -> dict[str, Any]:
    """The options worth comparing runs by."""
    optimizer = run.model.optimizers(use_pl_optimizer=False)
    return {
        "backbone": run.model.backbone,
        "batch_size": run.data.batch_size,
        "image_size": str(run.data.image_sizes),
        "epochs": run.trainer.max_epochs,
        "optimizer": type(optimizer).__name__,
        "lr": optimizer.defaults["lr"],  # type: ignore[union-attr]  # one optimizer, not a list
        "weight_decay": optimizer.defaults.get("weight_decay", 0.0),  # type: ignore[union-attr]
        "head_lr_factor": run.model.head_lr_factor,
        "label_smoothing": run.model.label_smoothing,
        "precision": str(run.trainer.precision),
        "world_size": run.trainer.world_size,
    }


def summary(run: Run) -> str:
    """What to read when the run is over: the result, the files, the next commands."""
    files = [f"  {name:<14} {what}" for name, what in FILES.items() if (run.folder / name).exists()]
    files.append(f"  {'events.out.*':<14} the same for TensorBoard, with pictures")
    next_commands = (
        "  tensorboard --logdir runs",
        f"  python -m serve --model {run.folder}/model",
        "  python -m lightning_app fit --config configs/cifar10.yaml",
    )
    return "\n".join(["", result_line(run), "", f"Left in {run.folder}:", *files, "", "Next:", *next_commands])


def result_line(run: Run) -> str:
    """The count of images right, the speed and the time."""
    speed = f"{run.images_per_second:.1f} images/s, " if run.images_per_second else ""
    time_taken = f"{speed}{run.seconds:.0f} s from start to end"
    if run.split is None:
        return f"Trained; there was nothing to test on. {time_taken}."
    confusion = run.model.results[run.split]["confusion"]
    right, total = int(confusion.trace()), int(confusion.sum())
    what = {"test": "test images", "val": "validation images"}[run.split]
    return f"{right} of {total} held-out {what} right ({100 * right / total:.2f}%); {time_taken}."
