"""What became of each image of a split, and from which confidence on an answer can be relied on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

# Share of right answers that a threshold shall ensure: the first that the model does not reach without one.
PRECISIONS = (0.95, 0.99, 0.995, 0.999)


class Outcomes(Metric):
    """Row, label, prediction and confidence of every image, over all batches and ranks."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("rows", "labels", "predicted", "confidence"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, rows: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Note a batch: int64 [n], float [n, C] and int64 [n]; n may be 0, and has to come where it is."""
        confidence, predicted = logits.softmax(dim=-1).max(dim=-1)
        for name, values in (("rows", rows), ("labels", labels), ("predicted", predicted), ("confidence", confidence)):
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Tensor]:
        """rows, labels, predicted (int64 [N]) and confidence (float [N]), ordered by row."""
        found = {name: dim_zero_cat(getattr(self, name)) for name in self._defaults}
        order = found["rows"].argsort()
        return {name: values[order] for name, values in found.items()}


def confidence_threshold(
    confidence: Tensor, right: Tensor, precisions: Sequence[float] = PRECISIONS
) -> dict[str, float | int | None]:
    """The lowest confidence from which on the stated share of answers is right.

    Args:
        confidence: float [N], of images that were not trained on.
        right: bool [N].
        precisions: ascending; the first one above the share that is right anyway is ensured.

    Returns:
        precision: what was asked for. threshold: the confidence, None where none ensures it.
        reached: the share of right answers at or above it. passing: how many images those are. images: N.
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
