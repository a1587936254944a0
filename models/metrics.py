"""What is measured on a validation or test set."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix

CALIBRATION_BINS = 15  # as in Guo et al. 2017, https://arxiv.org/abs/1706.04599


def eval_metrics(num_classes: int) -> MetricCollection:
    """Metrics over (logits [n, C], labels [n]): counts that are summed over batches and ranks, never averaged."""
    return MetricCollection(
        {
            "acc": MulticlassAccuracy(num_classes, average="micro"),
            "top3": MulticlassAccuracy(num_classes, top_k=min(3, num_classes), average="micro"),
            "ece": MulticlassCalibrationError(num_classes, n_bins=CALIBRATION_BINS),
            "per_class": MulticlassAccuracy(num_classes, average="none"),
            "confusion": MulticlassConfusionMatrix(num_classes),
        }
    )


def mean_loss() -> MeanMetric:
    """The mean over images; update it with per-image losses."""
    return MeanMetric()


def scalars(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those results that are one number."""
    return {name: value for name, value in results.items() if value.ndim == 0}
