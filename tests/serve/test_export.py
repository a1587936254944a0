"""export: files that other runtimes load, with the same answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.numpy import load_file
from small_artifact import CLASSES, STORED, card, stored_images, write_artifact

import serve.onnx_cache
import serve.onnx_export
from lightning_app.__main__ import main
from serve.classifier import Classifier
from serve.export import quantization
from serve.export.model_card import model_card
from serve.export.quantization import ROUNDS, Comparison, compare
from serve.onnx_cache import cached_onnx_bytes


def export(artifact: Path, to: Path, *options: str) -> int:
    return main(["export", "--model", str(artifact), "--to", str(to), *options])


def test_safetensors_json_and_a_card_are_always_written(artifact: Path, tmp_path: Path) -> None:
    assert export(artifact, tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "model.json",
        "weights.safetensors",
    ]
    assert json.loads((tmp_path / "out/model.json").read_text())["classes"] == CLASSES
    assert load_file(tmp_path / "out/weights.safetensors")["classifier.1.bias"].shape == (len(CLASSES),)
    model, again = Classifier(artifact), Classifier(tmp_path / "out")
    assert (model.probabilities(stored_images(3)) == again.probabilities(stored_images(3))).all()


@pytest.mark.slow
@pytest.mark.parametrize("stored", [24, 96], ids=["enlarged", "reduced"])
def test_onnx_gives_the_probabilities_for_any_batch(stored: int, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "model", stored_size=stored)
    model = Classifier(artifact)
    session = onnxruntime.InferenceSession(cached_onnx_bytes(model.reference, stored))
    images = np.random.default_rng(0).integers(0, 256, (5, 3, stored, stored), dtype=np.uint8)
    for count in (1, 2, 5):
        [found] = session.run(None, {"images": images[:count]})
        np.testing.assert_allclose(found, model.probabilities(images[:count]).numpy(), atol=1e-4)


@pytest.mark.slow
def test_onnx_is_checked_on_the_artifacts_test_images_and_the_difference_is_said(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(artifact, tmp_path / "out", "--onnx") == 0
    assert "ONNX against torch on 4 images: probabilities differ by " in capsys.readouterr().out
    assert (tmp_path / "out/model.onnx").stat().st_size > 1_000_000


@pytest.mark.slow
def test_onnx_is_checked_on_images_that_are_named(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for place in range(3):
        Image.effect_noise((50, 40), 60 + place).save(tmp_path / f"photos/{place}.jpg")
    assert export(artifact, tmp_path / "out", "--onnx", "--images", str(tmp_path / "photos")) == 0
    assert "on 3 images" in capsys.readouterr().out


def test_what_is_exported_is_an_artifact_without_the_test_images(artifact: Path, tmp_path: Path) -> None:
    assert Classifier(artifact).examples()
    assert export(artifact, tmp_path / "out") == 0
    assert "examples" not in json.loads((tmp_path / "out/model.json").read_text())
    assert Classifier(tmp_path / "out").examples() == []


@pytest.mark.slow
def test_no_onnx_of_other_weights_is_left(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(artifact, tmp_path / "out", "--onnx") == 0
    assert (tmp_path / "out/model.onnx").exists()
    assert export(artifact, tmp_path / "out") == 0
    assert not (tmp_path / "out/model.onnx").exists()
    assert capsys.readouterr().out.endswith("out: README.md, model.json, weights.safetensors\n")


def test_the_model_is_not_exported_over_itself(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()}
    assert export(artifact, artifact / "." / "examples" / "..") == 2
    assert "is the model itself; choose another folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()} == before


def test_where_nothing_can_be_written_is_wrong_usage(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert export(artifact, tmp_path / "file") == 2
    assert f"--to {tmp_path}/file cannot be written (File exists); choose another" in capsys.readouterr().err


@pytest.mark.slow
def test_answers_that_are_no_numbers_are_not_written(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve.onnx_export, "largest_difference", lambda *_: float("nan"))
    assert export(artifact, tmp_path / "out", "--onnx") == 2
    assert "not written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_onnx_with_other_answers_is_not_written(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = onnx.load_from_string(cached_onnx_bytes(Classifier(artifact).reference, STORED))
    [weight] = [each for each in other.graph.initializer if each.name.endswith("classifier.1.weight")]
    swapped = onnx.numpy_helper.to_array(weight)[[1, 0, 2, 3, 4]]  # of two classes
    weight.CopyFrom(onnx.numpy_helper.from_array(swapped, weight.name))
    monkeypatch.setattr(serve.onnx_cache, "cached_onnx_bytes", lambda *_: other.SerializeToString())
    assert export(artifact, tmp_path / "out", "--onnx") == 2
    assert "not written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_card_is_one_of_hugging_faces_filled_from_the_run(artifact: Path, tmp_path: Path) -> None:
    export(artifact, tmp_path / "out")
    _, front, text = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    content = yaml.safe_load(front)
    assert content["pipeline_tag"] == "image-classification"
    [result] = content["model-index"][0]["results"]
    assert result["dataset"] == {"name": "toys", "type": "toys-0123"}
    assert {"type": "accuracy", "name": "test accuracy", "value": 0.5} in result["metrics"]
    for said in ("| accuracy | 0.5000 | 0.6250 |", "confidence below 90.00%", "2026-11-24", *CLASSES):
        assert said in text


def transparent() -> Image.Image:
    image = Image.effect_noise((50, 40), 60).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "kind"),
    [(Image.effect_noise((50, 40), 60), "JPEG"), (transparent(), "PNG"), (transparent().convert("P"), "PNG")],
    ids=["grey", "transparent", "palette"],
)
def test_the_cards_lines_for_onnx_run(
    image: Image.Image, kind: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(artifact, tmp_path / "out", "--onnx")
    code = (tmp_path / "out/README.md").read_text().split("inside `model.onnx`:\n\n")[1].split("\n\n")[0]
    image.save(tmp_path / "out/picture.jpg", kind)
    monkeypatch.chdir(tmp_path / "out")
    names: dict = {}
    exec("\n".join(line[4:] for line in code.splitlines()), names)  # what the README tells people to run
    from datamodules.sources.decoding import decode_image

    stored = decode_image(Path("picture.jpg").read_bytes(), 24)
    np.testing.assert_allclose(
        names["probabilities"][0], Classifier(artifact).probabilities(stored[None])[0], atol=1e-4
    )


def classes_on_disk(root: Path, artifact: Path) -> float:
    """A data set whose test images are labelled as the network sees them, where it sees a class at all.

    Returns:
        The network's accuracy on them.
    """
    model, rng = Classifier(artifact), np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 3, 4, 4), dtype=np.uint8).repeat(6, axis=2).repeat(6, axis=3)
    labels = [found.label for found in model.predictions(images)]
    strange = [name for name in model.classes if name not in labels]
    for split, names in (("train", model.classes), ("val", model.classes * 2), ("test", [*labels, *strange])):
        for number, name in enumerate(names):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            image = images[number % len(images)].transpose(1, 2, 0)
            Image.fromarray(image).save(root / split / name / f"{split}{number}.png")
    return len(labels) / (len(labels) + len(strange))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose class names can be those of folders."""
    return write_artifact(tmp_path_factory.mktemp("plain") / "model", classes=["cat", "dog", "cow", "frog", "ship"])


@pytest.mark.slow
def test_int8_is_measured_beside_fp32_and_refused_where_it_loses_too_much(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = classes_on_disk(tmp_path / "images", plain)
    options = ["--onnx", "--int8", "--images", str(tmp_path / "images")]
    assert export(plain, tmp_path / "out", *options, "--max_loss", "-200") == 2
    assert "points of accuracy, more than --max_loss -200; not written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

    assert export(plain, tmp_path / "out", *options, "--max_loss", "-200", "--force") == 0
    said = capsys.readouterr().out
    assert re.search(rf"int8 against fp32 on \d+ test images: accuracy [\d.]+ against {accuracy:.4f} \(", said)
    fp32, int8 = (tmp_path / "out/model.onnx").read_bytes(), (tmp_path / "out/model.int8.onnx").read_bytes()
    assert len(int8) < 0.4 * len(fp32)
    assert largest_weight(int8) == 64
    # How near the answers are says nothing here: eight bits are far too few for random weights.
    [found] = onnxruntime.InferenceSession(int8).run(None, {"images": stored_images(4)})
    assert found.shape == (4, 5)
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-3  # the softmax is in fp32


def largest_weight(model: bytes) -> int:
    """Largest int8 weight. Of 7 bits: two products with activations of 8 bits fit the 16 bits of a CPU without VNNI."""
    weights = (onnx.numpy_helper.to_array(each) for each in onnx.load_model_from_string(model).graph.initializer)
    return max(int(np.abs(each.astype(int)).max()) for each in weights if each.dtype == np.int8 and each.ndim > 1)


def test_loss_is_the_difference_in_accuracy_in_points() -> None:
    worse = Comparison(images=200, correct=(180, 141), megabytes=(9.3, 2.6), milliseconds=(2.0, 1.0))
    assert worse.loss == 19.5
    assert "accuracy 0.7050 against 0.9000 (-19.50 points); 2.6 MB against 9.3" in str(worse)
    assert "one picture 1.00 ms against 2.00" in str(worse)


def test_accuracy_is_of_all_images_and_latency_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def run(session: str, stored: np.ndarray) -> np.ndarray:
        ran.append((session, len(stored)))
        return np.eye(2)[np.zeros(len(stored), int) if session == "int8" else stored[:, 0, 0, 0]]

    monkeypatch.setattr(quantization, "session", lambda content, threads: content.decode())
    monkeypatch.setattr(quantization, "run", run)
    labels = np.array([0, 1, 1])
    stored = np.zeros((3, 3, 4, 4), np.uint8) + labels[:, None, None, None]
    found = compare(b"fp32", b"int8", [(stored, labels), (stored[:2], labels[:2])], threads=1)
    assert (found.images, found.correct) == (5, (5, 2))
    assert ran == [("fp32", 3), ("int8", 3), ("fp32", 2), ("int8", 2), *[("fp32", 1), ("int8", 1)] * ROUNDS]


def test_int8_without_images_to_measure_with_is_wrong_usage(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(artifact, tmp_path / "out", "--int8") == 2
    assert "--int8 needs --images: the data set, a folder or archive with train/" in capsys.readouterr().err


@pytest.mark.slow
def test_onnx_knows_its_classes_and_sizes(artifact: Path, tmp_path: Path) -> None:
    assert export(artifact, tmp_path / "out", "--onnx") == 0
    known = onnxruntime.InferenceSession(tmp_path / "out/model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == CLASSES
    assert (known["stored_size"], known["input_size"]) == ("24", "128")
    assert json.loads(known["card"])["metrics"]["test/acc"] == 0.5


@pytest.mark.slow
def test_torch_export_gives_the_same_answers_for_any_batch(artifact: Path, tmp_path: Path) -> None:
    assert export(artifact, tmp_path / "out", "--pt2") == 0
    module = torch.export.load(tmp_path / "out/model.pt2").module()
    for count in (1, 3):
        stored = stored_images(3)[:count]
        expected = Classifier(artifact).probabilities(stored)
        torch.testing.assert_close(module(torch.from_numpy(stored)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (None, "mobilenet_v2, trained, for 5 classes"),
        ("none", "mobilenet_v2, trained from random weights, for 5 classes"),
        ("imagenet", "mobilenet_v2, fine-tuned from torchvision's ImageNet weights, for 5 classes"),
    ],
)
def test_the_card_says_what_training_began_with_and_the_hub_reads_it(weights: str | None, said: str) -> None:
    content = model_card(
        card(provenance={"data": "toys-0123", "initial_weights": weights, "epochs": 3}), ["model.onnx"]
    )
    assert said in content
    data = ModelCard(content, ignore_metadata_errors=False).data
    assert (data.license, data.datasets, data.pipeline_tag) == ("unknown", ["toys"], "image-classification")
    assert data.eval_results[0].metric_type == "accuracy"
    assert data.to_dict()["hyperparameters"]["epochs"] == 3
