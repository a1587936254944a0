"""What a finished fit writes and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.figure import Figure

from lightning_app.results import write_results as module
from lightning_app.results.card import model_card
from lightning_app.results.finished_run import FinishedRun
from lightning_app.results.summary import result_line, summary
from lightning_app.results.write_results import metrics_json, write_plot, write_results


def test_the_result_is_the_test_splits_and_says_so(run: FinishedRun) -> None:
    assert result_line(run) == "Test accuracy 70.00% (7 of 10 held-out images); 123.4 images/s, 60 s from start to end."
    del run.model.results["test"]
    assert result_line(run).startswith("Validation accuracy 75.00% (6 of 8 held-out images); ")
    del run.model.results["val"]
    assert result_line(run).startswith("Trained. There were no images to validate or test on. ")


def test_the_summary_names_the_files_that_are_there_and_no_others(run: FinishedRun) -> None:
    (run.folder / "metrics.csv").touch()
    text = summary(run)
    assert "metrics.csv" in text
    assert "events.out" not in text
    assert "tensorboard" not in text  # there is nothing for it: another logger was used
    (run.folder / "events.out.tfevents.1").touch()
    assert "events.out.* " in summary(run)


def test_paths_with_spaces_in_the_commands_are_quoted(run: FinishedRun) -> None:
    (run.folder / "events.out.tfevents.1").touch()
    assert f"  python -m serve --model '{run.folder}/model'\n" in summary(run)
    assert f"  tensorboard --logdir '{run.folder.parent.parent}'\n" in summary(run)


def test_metrics_json_has_every_final_metric(run: FinishedRun) -> None:
    content = json.loads(metrics_json(run))
    assert content["metrics"] == {
        "val/acc": 0.75,
        "val/loss": 0.5,
        "test/acc": pytest.approx(0.7),
        "test/loss": None,  # infinite
    }
    assert (content["epoch"], content["step"], content["hparams"]) == (3, 30, {"model.backbone": "resnet18"})


def test_a_plot_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Figure:
        raise ValueError("no such glyph")

    write_plot(tmp_path / "curves.png", fail)
    assert "curves.png could not be drawn (ValueError: no such glyph)" in caplog.text
    write_plot(tmp_path / "gone/curves.png", Figure)
    assert "gone/curves.png could not be drawn (FileNotFoundError" in caplog.text


def test_the_artifact_has_the_card_and_examples_of_the_test_and_hparams_the_final_metrics(
    run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[Any, ...]] = []
    saved: list[tuple[Any, ...]] = []
    tensorboard = TensorBoardLogger(run.folder)
    monkeypatch.setattr(tensorboard, "log_hyperparams", lambda *given, step: logged.append((*given, step)))
    monkeypatch.setattr(run.trainer, "loggers", [CSVLogger(run.folder), tensorboard])
    monkeypatch.setattr(run.model, "network", "the network", raising=False)
    monkeypatch.setattr(run.data, "write_report", lambda path: path.write_text("what was left out"), raising=False)
    monkeypatch.setattr(module, "choose_examples", lambda data, found: ([found["loss"]], {"00.png": b"pixels"}))
    monkeypatch.setattr(module, "save_artifact", lambda *given: saved.append(given))
    write_results(run)
    card = model_card(run) | {"examples": [run.model.results["test"]["loss"]]}
    [(folder, network, given, pictures)] = saved
    assert (folder, network, pictures) == (run.folder / "model", "the network", {"00.png": b"pixels"})
    assert given.keys() == card.keys()
    assert (given["examples"], given["metrics"]) == (card["examples"], card["metrics"])
    assert logged == [({"model.backbone": "resnet18"}, run.metrics(), 50)]
    assert json.loads((run.folder / "metrics.json").read_text())["step"] == 30
    assert (run.folder / "data.txt").read_text() == "what was left out"
    assert (run.folder / "confusion.png").stat().st_size > 0
