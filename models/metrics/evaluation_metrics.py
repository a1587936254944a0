"""The metrics of a validation or test set."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix
from torchmetrics.utilities import dim_zero_cat

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
        """Count a batch: float [n, C] and int64 [n]; n is 0 for a rank without images."""
        if not len(labels):
            return
        self.collection.update(logits, labels)
        self.loss.update(F.cross_entropy(logits, labels, reduction="none"))

    def compute_and_reset(self) -> dict[str, Tensor]:
        """Results over all ranks; resets the counts.

        Returns:
            Scalars acc, top3, ece, loss, balanced_acc and f1 (the mean over classes); per_class and per_class_f1 [C];
            confusion int64 [C, C] (row = truth).
        """
        results = {**self.collection.compute(), "loss": self.loss.compute()}
        reset(self.collection, self.loss)
        return results | class_balance(results["confusion"])


class ImagePredictions(Metric):
    """Row, label, prediction and confidence of every image, over all batches and ranks."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("indices", "labels", "predicted", "confidence"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Record a batch: int64 [n], float [n, C] and int64 [n]; a rank with n = 0 has to call it too."""
        confidence, predicted = logits.softmax(dim=-1).max(dim=-1)
        found = {"indices": indices, "labels": labels, "predicted": predicted, "confidence": confidence}
        for name, values in found.items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Tensor]:
        """indices, labels, predicted (int64 [N]) and confidence (float [N]), ordered by index."""
        found = {name: dim_zero_cat(getattr(self, name)) for name in self._defaults}
        order = found["indices"].argsort()
        return {name: values[order] for name, values in found.items()}


def reset(*metrics: Metric | MetricCollection) -> None:
    """Reset, with states that training may change too: those created in Lightning's inference mode may not be."""
    with torch.inference_mode(False):
        for metric in metrics:
            metric.reset()


def class_balance(confusion: Tensor) -> dict[str, Tensor]:
    """How well each class is recognised, whatever its share of the images, from int64 [C, C] with the truth in rows.

    Returns:
        balanced_acc: mean accuracy of the classes that have images. f1: mean F1 of the classes that have images or
        predictions, as scikit-learn has it. per_class_f1: float [C], 0 for the others.
    """
    right, images, predictions = confusion.diagonal().float(), confusion.sum(1).float(), confusion.sum(0).float()
    recall, f1 = right / images.clamp(min=1), 2 * right / (images + predictions).clamp(min=1)
    return {
        "balanced_acc": recall.sum() / (images > 0).sum(),
        "f1": f1.sum() / (images + predictions > 0).sum(),
        "per_class_f1": f1,
    }


def majority_share(confusion: Tensor) -> float:
    """The accuracy of always predicting the largest class; confusion is int64 [C, C], row = truth."""
    images = confusion.sum(1)
    return float(images.max() / images.sum())


def scalars(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """The results that are single numbers."""
    return {name: value for name, value in results.items() if value.ndim == 0}
