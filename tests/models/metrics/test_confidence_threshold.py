"""A threshold ensures the accuracy that it states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.metrics.confidence_threshold import PRECISIONS, confidence_threshold


def threshold(confidence: list[float], right: list[int], precision: float) -> dict:
    return confidence_threshold(torch.tensor(confidence), torch.tensor(right, dtype=torch.bool), (precision,))


@pytest.mark.parametrize("seed", range(20))
def test_no_lower_confidence_ensures_the_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(20, 100, 300) / 100  # with ties
    right = rng.random(300) < confidence
    wanted = next(precision for precision in PRECISIONS if precision > right.mean())
    found = confidence_threshold(torch.from_numpy(confidence), torch.from_numpy(right))
    reached = {level: right[confidence >= level].mean() for level in np.unique(confidence)}
    enough = [level for level, precision in reached.items() if precision >= wanted]
    assert found["precision"] == wanted
    assert found["threshold"] == (min(enough) if enough else None)
    if enough:
        assert found["reached"] == pytest.approx(reached[min(enough)])
        assert found["passing"] == (confidence >= min(enough)).sum()
    assert found["images"] == 300


def test_images_of_equal_confidence_pass_together_or_not_at_all() -> None:
    found = threshold([0.9, 0.5, 0.5], [1, 1, 0], 0.9)
    assert (found["threshold"], found["passing"]) == (pytest.approx(0.9), 1)


def test_where_the_surest_answers_are_wrong_there_may_be_no_threshold() -> None:
    found = threshold([0.99, 0.6, 0.5], [0, 1, 1], 0.95)
    assert found == {"precision": 0.95, "threshold": None, "reached": None, "passing": 0, "images": 3}


def test_a_model_that_is_better_than_the_first_precision_is_held_to_the_next() -> None:
    right = torch.ones(1000, dtype=torch.bool)
    right[:20] = False
    confidence = torch.linspace(0.5, 1, 1000, dtype=torch.float64)
    assert confidence_threshold(confidence, right)["precision"] == 0.99
    right[:] = True
    found = confidence_threshold(confidence, right)
    assert (found["precision"], found["threshold"], found["passing"]) == (PRECISIONS[-1], 0.5, 1000)
