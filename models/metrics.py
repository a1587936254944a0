"""What is measured on a validation or test set."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix

CALIBRATION_BINS = 15  # as in Guo et al. 2017, https://arxiv.org/abs/1706.04599


class EvalMetrics(nn.Module):
    """Metrics of one split: counts that are summed over batches and ranks, never averages of averages.

    Args:
        num_classes: width of the logits.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.collection = MetricCollection(
            {
                "acc": MulticlassAccuracy(num_classes, average="micro"),
                "top3": MulticlassAccuracy(num_classes, top_k=min(3, num_classes), average="micro"),
                "ece": MulticlassCalibrationError(num_classes, n_bins=CALIBRATION_BINS),
                "per_class": MulticlassAccuracy(num_classes, average="none"),
                "confusion": MulticlassConfusionMatrix(num_classes),
            }
        )
        self.loss = MeanMetric()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: float [n, C] and int64 [n]; n is 0 for a rank that has nothing to do."""
        if not len(labels):
            return
        self.collection.update(logits, labels)
        self.loss.update(F.cross_entropy(logits, labels, reduction="none"))

    def conclude(self) -> dict[str, Tensor]:
        """Results over all ranks, and a fresh start: scalars, per_class [C] and confusion int [C, C] (row = truth)."""
        results = {**self.collection.compute(), "loss": self.loss.compute()}
        self.collection.reset()
        self.loss.reset()
        return results


def scalars(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those results that are one number."""
    return {name: value for name, value in results.items() if value.ndim == 0}
