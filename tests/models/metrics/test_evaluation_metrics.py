"""Metrics agree with plain numpy, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from models.metrics.evaluation_metrics import CALIBRATION_BINS, EvalMetrics, ImagePredictions, majority_share, scalars

IMAGES, CLASSES = 203, 5


def random_logits(classes: int, images: int = IMAGES) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right somewhat more often than chance, and labels of all classes but the last."""
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(max(classes - 1, 2), (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator) * 2
    return logits + torch.nn.functional.one_hot(labels, classes), labels


def measured(logits: torch.Tensor, labels: torch.Tensor, chunk: int = 64) -> dict[str, np.ndarray]:
    """What EvalMetrics says, fed in chunks, the last one short."""
    metrics = EvalMetrics(logits.shape[1])
    for start in range(0, len(labels), chunk):
        metrics.update(logits[start : start + chunk], labels[start : start + chunk])
    return {name: value.numpy() for name, value in metrics.compute_and_reset().items()}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3)."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return sum(
        abs(right[bins == bin_].mean() - confidence[bins == bin_].mean()) * (bins == bin_).mean()
        for bin_ in np.unique(bins)
    )


@pytest.mark.parametrize("classes", [2, 3, CLASSES])
def test_metrics_agree_with_numpy(classes: int) -> None:
    logits, labels = random_logits(classes)
    found = measured(logits, labels)
    scores, truth = logits.double().numpy(), labels.numpy()

    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    ranked = np.argsort(-scores, axis=1)[:, : min(3, classes)]
    shares = probabilities(scores)

    assert found["confusion"].tolist() == confusion.tolist()
    assert found["acc"] == np.float32(np.trace(confusion) / IMAGES)
    assert found["top3"] == np.float32((ranked == truth[:, None]).any(axis=1).sum() / IMAGES)
    np.testing.assert_allclose(found["per_class"], np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1))
    present = np.unique(truth)
    np.testing.assert_allclose(found["balanced_acc"], balanced_accuracy_score(truth, predicted), rtol=1e-6)
    np.testing.assert_allclose(found["f1"], f1_score(truth, predicted, average="macro"), rtol=1e-6)
    by_class = f1_score(truth, predicted, average=None, labels=range(classes), zero_division=0)
    np.testing.assert_allclose(found["per_class_f1"], by_class, rtol=1e-6)
    assert majority_share(torch.from_numpy(found["confusion"])) == pytest.approx(np.bincount(truth).max() / IMAGES)
    assert len(present) == max(classes - 1, 2)  # a class without images is the case to get right
    np.testing.assert_allclose(found["loss"], -np.log(shares[np.arange(IMAGES), truth]).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["ece"], calibration_error(shares.max(axis=1), predicted == truth), rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 50, IMAGES])
def test_the_size_of_the_batches_changes_no_count(chunk: int) -> None:
    logits, labels = random_logits(CLASSES)
    whole, chunked = measured(logits, labels, IMAGES), measured(logits, labels, chunk)
    assert chunked["confusion"].tolist() == whole["confusion"].tolist()
    for name in ("acc", "top3", "per_class"):
        np.testing.assert_array_equal(chunked[name], whole[name], err_msg=name)


def test_of_two_classes_both_are_among_the_first_three() -> None:
    assert measured(*random_logits(2))["top3"] == 1.0


def test_computing_starts_afresh() -> None:
    logits, labels = random_logits(CLASSES)
    used, fresh = EvalMetrics(CLASSES), EvalMetrics(CLASSES)
    used.update(logits, labels)
    used.compute_and_reset()
    for metrics in (used, fresh):
        metrics.update(logits[:7], labels[:7])
    torch.testing.assert_close(used.compute_and_reset(), fresh.compute_and_reset(), rtol=0, atol=0)


def test_a_batch_of_no_images_changes_nothing() -> None:
    logits, labels = random_logits(CLASSES)
    with_empty, without = EvalMetrics(CLASSES), EvalMetrics(CLASSES)
    with_empty.update(logits[:0], labels[:0])
    for metrics in (with_empty, without):
        metrics.update(logits, labels)
    torch.testing.assert_close(with_empty.compute_and_reset(), without.compute_and_reset(), rtol=0, atol=0)


def test_only_numbers_are_scalars() -> None:
    metrics = EvalMetrics(CLASSES)
    metrics.update(*random_logits(CLASSES))
    assert set(scalars(metrics.compute_and_reset())) == {"acc", "top3", "ece", "loss", "balanced_acc", "f1"}


def test_a_validation_before_training_leaves_states_that_training_may_change() -> None:
    logits, labels = random_logits(CLASSES)
    metrics = EvalMetrics(CLASSES)
    with torch.inference_mode():  # as Trainer.validate has it
        metrics.update(logits, labels)
        first = metrics.compute_and_reset()
    metrics.update(logits, labels)  # as the validation of a fit, which has not
    torch.testing.assert_close(metrics.compute_and_reset(), first)


def test_predictions_are_ordered_by_row_whatever_the_batches() -> None:
    logits, labels = torch.randn(7, 3), torch.arange(7) % 3
    indices = torch.tensor([5, 3, 9, 0, 7, 2, 8])
    predictions = ImagePredictions()
    for part in (slice(0, 4), slice(4, 4), slice(4, 7)):
        predictions.update(indices[part], logits[part], labels[part])
    found, order = predictions.compute(), indices.argsort()
    assert found["indices"].tolist() == sorted(indices.tolist())
    assert found["labels"].tolist() == labels[order].tolist()
    assert found["predicted"].tolist() == logits[order].argmax(dim=1).tolist()
    torch.testing.assert_close(found["confidence"], logits[order].softmax(dim=1).amax(dim=1))
