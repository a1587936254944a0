"""The table that `predict` writes: one row per image, in the order of the packed cache."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch
from torch import Tensor

from lightning_app.files import replace_file

Prediction = tuple[int, int, list[float]]  # row in the cache, label, probabilities


def gather_predictions(batches: list[dict[str, Tensor]]) -> list[Prediction]:
    """The predictions of all ranks, on every rank, ordered by row."""
    own = [
        (row, label, probabilities)
        for batch in batches
        for row, label, probabilities in zip(
            batch["indices"].tolist(), batch["labels"].tolist(), batch["probabilities"].tolist(), strict=True
        )
    ]
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return sorted(own)
    parts: list[list[Prediction]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, own)
    return sorted(prediction for part in parts for prediction in part)


def write_predictions(path: Path, predictions: list[Prediction], names: list[str], classes: list[str]) -> None:
    """Write name, true class, predicted class and the probability of each class, as CSV.

    Raises:
        OSError: it could not be written; the previous table is still there.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["image", "label", "prediction", *classes])
    for row, label, probabilities in predictions:
        prediction = classes[probabilities.index(max(probabilities))]
        writer.writerow([names[row], classes[label], prediction, *(f"{value:.6f}" for value in probabilities)])
    # File names are bytes; invalid UTF-8 in them arrives as lone surrogates, which are escaped.
    replace_file(path, table.getvalue().encode(errors="backslashreplace"))
