"""Test images for the artifact, which the model was never trained on: correct and wrong predictions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from datamodules.datamodule import ImageData
from models.artifact import EXAMPLES

HITS, MISSES = 8, 4


def choose_examples(
    data: ImageData, outcomes: dict[str, Tensor] | None
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Take the first correct and wrong predictions of the test set, one class at a time; nobody hand-picks them.

    Args:
        outcomes: indices, labels, predicted, confidence, each [N]; None if nothing was tested.

    Returns:
        One entry each for the card (file, name, label, predicted, confidence), and the PNGs by file, as stored: what
        is served from them is what the test saw.
    """
    if outcomes is None:
        return [], {}
    labels, predicted = outcomes["labels"].cpu().numpy(), outcomes["predicted"].cpu().numpy()
    right = labels == predicted
    hits, misses = (interleave_classes(labels, which) for which in (right, ~right))
    names, classes = data.packed.names(), data.packed.classes
    places = [*hits[:HITS], *misses[:MISSES]]
    rows = [int(outcomes["indices"][place]) for place in places]
    entries = [
        {
            "file": f"{EXAMPLES}/{number:02}.png",
            "name": names[row],
            "label": classes[labels[place]],
            "predicted": classes[predicted[place]],
            "confidence": round(outcomes["confidence"][place].item(), 4),
        }
        for number, (place, row) in enumerate(zip(places, rows, strict=True))
    ]
    return entries, {entry["file"]: as_png(data.packed.images[row]) for entry, row in zip(entries, rows, strict=True)}


def interleave_classes(labels: np.ndarray, among: np.ndarray) -> list[int]:
    """Positions where bool `among` [N] is true: the first of each class, then the second of each, and so on."""
    turns: dict[int, int] = {}
    order = []
    for place in np.flatnonzero(among):
        label = int(labels[place])
        turns[label] = turns.get(label, 0) + 1
        order.append((turns[label], label, int(place)))
    return [place for _, _, place in sorted(order)]


def as_png(stored: np.ndarray) -> bytes:
    """A stored image, uint8 [3, S, S], losslessly."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored.transpose(1, 2, 0))).save(file, "PNG")
    return file.getvalue()
