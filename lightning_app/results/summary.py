"""What a fit prints at the end: the result, the files, and what to do next."""

from __future__ import annotations

import shlex

from lightning_app.results.finished_run import FinishedRun

# A run's files in the order of the summary; a * stands for the rest of a name.
FILES = {
    "config.yaml": "every option of this run; fit --config reads it",
    "hparams.yaml": "the options shown in TensorBoard's HPARAMS tab",
    "metrics.csv": "all logged metrics, one row per step",
    "metrics.json": "the final metrics",
    "data.txt": "images of each split, and every file left out of them, with the reason",
    "curves.png": "loss and accuracy over the run",
    "confusion.png": "the confusion matrix",
    "checkpoints": "weights and optimizer, to continue from",
    "run.json": "whether the run is finished; if not, the same command continues it",
    "model": "the trained model, for serve, label and export",
    "events.out.*": "metrics and images for TensorBoard",
}
SPLITS = {"test": "Test", "val": "Validation"}


def summary(run: FinishedRun) -> str:
    """The summary, several lines."""
    files = [f"  {name:<14} {what}" for name, what in FILES.items() if any(run.folder.glob(name))]
    events = any(run.folder.glob("events.out.*"))  # none with another logger
    next_commands = (
        *([f"  tensorboard --logdir {shlex.quote(str(run.folder.parent.parent))}"] if events else []),
        f"  python -m serve --model {shlex.quote(str(run.folder / 'model'))}",
        "  python -m lightning_app fit --config configs/cifar10.yaml",
    )
    return "\n".join(["", result_line(run), "", f"Files in {run.folder}:", *files, "", "Next:", *next_commands])


def result_line(run: FinishedRun) -> str:
    """Accuracy, speed and time."""
    speed = f"{run.images_per_second:.1f} images/s, " if run.images_per_second else ""
    time_taken = f"{speed}{run.seconds:.0f} s from start to end"
    if run.split is None:
        return f"Trained. There were no images to validate or test on. {time_taken}."
    confusion = run.model.results[run.split]["confusion"]
    correct, total = int(confusion.trace()), int(confusion.sum())
    accuracy = f"{SPLITS[run.split]} accuracy {100 * correct / total:.2f}%"
    return f"{accuracy} ({correct} of {total} held-out images); {time_taken}."
