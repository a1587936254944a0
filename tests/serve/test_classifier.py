"""One preprocessing: what is served is what the test saw."""

from __future__ import annotations

import builtins
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_artifact import INPUT, STORED, stored_images, write_artifact

import serve.classifier
from datamodules.datamodule import ImageData
from datamodules.sources.decoding import decode_image
from lightning_app.results.examples import as_png
from models.errors import ModelError
from serve.classifier import Classifier

REPOSITORY = Path(__file__).parents[2]
TOLERANCE = 1e-4  # of probabilities, as the issue has it


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short fit of the digits by the program, in fp32, and its predictions of the test split."""
    folder = tmp_path_factory.mktemp("run")
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=8", "--data.image_size=32"]
    options = ["--config", "configs/quickstart.yaml", "--trainer.strategy=cpu", "--trainer.precision=32-true", *short]
    options += [f"--data.cache_dir={folder}/packed"]
    program(folder, "fit", *options, f"--runs_dir={folder}/runs")
    run = folder / "runs/quickstart/version_0"
    program(folder, "predict", *options, f"--ckpt_path={run}/checkpoints/best.ckpt")
    return run


def program(folder: Path, *args: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lightning_app", *args], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("accelerated", [False, True], ids=["torch", "ONNX Runtime"])
def test_served_probabilities_are_those_of_the_program(accelerated: bool, digits_run: Path) -> None:
    model = Classifier(digits_run / "model")
    if accelerated:
        model.accelerate()
        assert model.pipeline is not model.reference
    data = ImageData("digits", cache_dir=str(digits_run.parents[2] / "packed"))
    data.prepare_data()
    rows = list(csv.DictReader((digits_run / "predictions.csv").read_text().splitlines()))
    predicted = np.array([[float(row[name]) for name in model.classes] for row in rows])
    files = [as_png(data.packed.images[row]) for row in data.indices["test"].tolist()]  # as a visitor would send them
    served = model.probabilities(np.stack([decode_image(content, model.stored_size) for content in files]))
    assert len(rows) == len(files) == 360
    assert np.abs(predicted - served.numpy()).max() < TOLERANCE


def test_the_examples_are_test_images_and_their_answers_those_of_the_test(digits_run: Path) -> None:
    model = Classifier(digits_run / "model")
    rows = {row["image"]: row for row in csv.DictReader((digits_run / "predictions.csv").read_text().splitlines())}
    assert len(model.examples()) == 12
    for entry, path in model.examples():
        assert rows[entry["name"]]["label"] == entry["label"]
        prediction = model.prediction(decode_image(path.read_bytes(), model.stored_size))
        assert prediction.label == entry["predicted"] == rows[entry["name"]]["prediction"]
        assert prediction.confidence == pytest.approx(entry["confidence"], abs=TOLERANCE)


def test_what_is_uncertain_is_below_the_threshold_of_validation(tmp_path: Path) -> None:
    stored = stored_images(4)
    confidences = Classifier(write_artifact(tmp_path / "any")).probabilities(stored).amax(dim=1).tolist()
    middle = sorted(confidences)[2]
    chosen = {"precision": 0.95, "reached": 0.96, "passing": 1, "images": 2}
    model = Classifier(write_artifact(tmp_path / "model", uncertain=chosen | {"threshold": middle}))
    assert [found.uncertain for found in model.predictions(stored)] == [value < middle for value in confidences]


@pytest.mark.parametrize(("chosen", "uncertain"), [(None, None), ({"precision": 0.95, "threshold": None}, True)])
def test_without_a_threshold_nothing_is_certain_and_without_validation_nothing_is_said(
    chosen: Any, uncertain: bool | None, tmp_path: Path
) -> None:
    model = Classifier(write_artifact(tmp_path / "model", uncertain=chosen))
    assert model.prediction(stored_images(1)[0]).uncertain is uncertain


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0"])
def test_other_backbones_are_accelerated_with_the_same_answers_for_any_batch(backbone: str, tmp_path: Path) -> None:
    model = Classifier(write_artifact(tmp_path / "model", backbone=backbone))
    stored = stored_images(3)
    expected = model.probabilities(stored)
    model.accelerate()
    assert model.pipeline is not model.reference
    for count in (1, 3):
        torch.testing.assert_close(model.probabilities(stored[:count]), expected[:count], atol=1e-4, rtol=0)


def test_without_onnx_runtime_torch_answers(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "inference with torch (ONNX Runtime is not installed" in why_torch_answers(artifact, caplog)


def why_torch_answers(artifact: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged where ONNX Runtime is not gone over to."""
    model = Classifier(artifact)
    with caplog.at_level("INFO", logger="serve"):
        model.accelerate()
    assert model.pipeline is model.reference
    return caplog.text


@pytest.mark.parametrize("what", ["load", "run", "agree"])
def test_where_onnx_runtime_fails_torch_answers(
    what: str, artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def __init__(self, *_: Any, **__: Any) -> None:
            if what == "load":
                raise Exception("Unsupported model IR version\nand more")  # as its own errors, which derive from this

        def run(self, *_: Any) -> list[np.ndarray]:
            if what == "run":
                raise Exception("no kernel")
            return [np.full((2, 5), np.nan, dtype=np.float32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing)
    monkeypatch.setattr(serve.classifier, "cached_onnx_bytes", lambda *_: b"whatever is exported")
    assert "inference with torch (ONNX Runtime" in why_torch_answers(artifact, caplog)


def test_an_artifact_that_does_not_say_how_pictures_are_stored_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "model")
    card = json.loads((folder / "model.json").read_text())
    del card["stored_size"]
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="lacks stored_size; train again"):
        Classifier(folder)


def test_an_example_outside_of_the_artifact_is_looked_for_inside(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "model")
    card = json.loads((folder / "model.json").read_text())
    card["examples"][0]["file"] = "../../../etc/passwd"
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "examples/passwd").touch()
    assert Classifier(folder).examples()[0][1] == folder / "examples/passwd"


@pytest.mark.slow
def test_answering_needs_neither_lightning_nor_the_program_nor_gradio(artifact: Path, tmp_path: Path) -> None:
    code = (
        "import sys, numpy\n"
        "from serve.classifier import Classifier\n"
        f"Classifier(sys.argv[1]).prediction(numpy.zeros((3, {STORED}, {STORED}), numpy.uint8))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(artifact)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    imported = set(process.stdout.split())
    assert imported & {"lightning", "torchmetrics", "jsonargparse", "gradio", "onnxruntime"} == set()
    assert INPUT > STORED


@pytest.mark.slow
def test_a_network_that_cannot_take_its_input_size_is_refused_at_the_start(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the vit_b_16 of .* cannot process 128 x 128 pixels"):
        Classifier(write_artifact(tmp_path / "model", backbone="vit_b_16"))


def test_probabilities_that_are_no_numbers_are_never_confident(artifact: Path) -> None:
    assert Classifier(artifact)._judge([float("nan")] * 5).uncertain is True
