"""The model card says what was measured with the exported weights, and on which images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_app.results.card import CURVE_POINTS, curves, model_card
from lightning_app.results.finished_run import FinishedRun


def test_the_input_size_is_that_of_evaluation(run: FinishedRun) -> None:
    card = model_card(run)
    assert (card["input_size"], card["stored_size"]) == (40, 48)


def test_the_steps_are_those_behind_the_exported_weights(run: FinishedRun) -> None:
    provenance = model_card(run)["provenance"]
    assert (provenance["epochs"], provenance["steps"], provenance["steps_of_the_run"]) == (3, 30, 50)


def test_the_threshold_comes_from_validation(run: FinishedRun) -> None:
    uncertain = model_card(run)["uncertain"]
    assert (uncertain["images"], uncertain["passing"], uncertain["threshold"]) == (4, 2, pytest.approx(0.8))


def test_without_validation_there_is_no_threshold(run: FinishedRun) -> None:
    del run.model.results["val"]
    assert model_card(run)["uncertain"] is None


def test_each_split_has_its_own_matrix_and_accuracies(run: FinishedRun) -> None:
    card = model_card(run)
    assert card["confusion"] == {"val": [[4, 0], [2, 2]], "test": [[5, 1], [2, 2]]}
    assert card["per_class_accuracy"]["val"] == {"cat": 1.0, "dog": 0.5}
    assert card["per_class_accuracy"]["test"] == {"cat": pytest.approx(5 / 6), "dog": 0.5}
    assert card["metrics"]["val/acc"] == 0.75
    assert card["metrics"]["test/acc"] == pytest.approx(0.7)


def test_a_metric_that_is_no_finite_number_is_left_out(run: FinishedRun) -> None:
    card = model_card(run)
    assert "test/loss" not in card["metrics"]
    json.dumps(card, allow_nan=False)


def test_epochs_and_steps_are_those_of_the_exported_weights(run: FinishedRun) -> None:
    provenance = model_card(run)["provenance"]
    assert (provenance["epochs"], provenance["steps"], provenance["steps_of_the_run"]) == (3, 30, 50)


def test_curves_are_thinned_out_and_have_no_infinity(tmp_path: Path) -> None:
    rows = [f"0,{step},{'inf' if step == 0 else step / 2},{0.5 if step == 9 else ''}" for step in range(1001)]
    table = tmp_path / "metrics.csv"
    table.write_text("\n".join(["epoch,step,train/loss,val/acc", *rows, ""]))
    found = curves(table)
    assert found["val/acc"] == [(9, 0.5)]
    assert found["train/loss"][:2] == [(1, 0.5), (6, 3.0)]
    assert len(found["train/loss"]) == CURVE_POINTS
