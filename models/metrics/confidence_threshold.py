"""The confidence below which a prediction is called uncertain; `serve.classifier` applies it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Accuracies that a threshold may ensure: the first of them that the model does not reach without one.
PRECISIONS = (0.95, 0.99, 0.995, 0.999)


def confidence_threshold(
    confidence: Tensor, right: Tensor, precisions: Sequence[float] = PRECISIONS
) -> dict[str, float | int | None]:
    """The lowest confidence at or above which predictions have the wanted accuracy.

    Args:
        confidence: float [N], for images that were not trained on.
        right: bool [N], whether the prediction was correct.
        precisions: ascending; the first one above the accuracy over all images is wanted.

    Returns:
        precision: the accuracy that was wanted. threshold: the confidence, None where none ensures it.
        reached: the accuracy at or above it. passing: how many images those are. images: N.
    """
    assert len(confidence), "a threshold needs images"
    accuracy = right.double().mean().item()
    wanted = next((precision for precision in precisions if precision > accuracy), precisions[-1])
    levels, order = confidence.double().sort(descending=True)
    reached = right[order].double().cumsum(0) / torch.arange(1, len(levels) + 1, device=levels.device)
    # Among images of equal confidence, only the last one sees all that pass together with it.
    last_of_level = torch.cat([levels[1:] < levels[:-1], levels.new_ones(1, dtype=torch.bool)])
    passing = (last_of_level & (reached >= wanted)).nonzero()
    found: dict[str, float | int | None] = {"precision": wanted, "images": len(levels)}
    if not len(passing):
        return found | {"threshold": None, "reached": None, "passing": 0}
    lowest = int(passing[-1])
    return found | {"threshold": levels[lowest].item(), "reached": reached[lowest].item(), "passing": lowest + 1}
