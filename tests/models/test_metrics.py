"""Metrics agree with plain numpy, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.metrics import CALIBRATION_BINS, EvalMetrics, scalars

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
    return {name: value.numpy() for name, value in metrics.conclude().items()}


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


def test_concluding_starts_afresh() -> None:
    logits, labels = random_logits(CLASSES)
    used, fresh = EvalMetrics(CLASSES), EvalMetrics(CLASSES)
    used.update(logits, labels)
    used.conclude()
    for metrics in (used, fresh):
        metrics.update(logits[:7], labels[:7])
    torch.testing.assert_close(used.conclude(), fresh.conclude(), rtol=0, atol=0)


def test_a_batch_of_no_images_changes_nothing() -> None:
    logits, labels = random_logits(CLASSES)
    with_empty, without = EvalMetrics(CLASSES), EvalMetrics(CLASSES)
    with_empty.update(logits[:0], labels[:0])
    for metrics in (with_empty, without):
        metrics.update(logits, labels)
    torch.testing.assert_close(with_empty.conclude(), without.conclude(), rtol=0, atol=0)


def test_only_numbers_are_scalars() -> None:
    metrics = EvalMetrics(CLASSES)
    metrics.update(*random_logits(CLASSES))
    assert set(scalars(metrics.conclude())) == {"acc", "top3", "ece", "loss"}
