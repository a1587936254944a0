"""One real fit, and everything that it leaves behind."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from datamodules.datamodule import ImageData
from lightning_app.__main__ import main
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import step_files
from lightning_app.cli.cli import CLI
from models.artifact import load_artifact
from models.classifier import ImageClassifier
from models.schedules import OneCycle

Program = Callable[..., subprocess.CompletedProcess[str]]
TEST_IMAGES, VAL_IMAGES, STEPS, PEAK = 360, 70, 20, 5e-4

FEW = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]
TROUBLE = re.compile(r"warning|error|traceback|GPU available|Tip:|args parameter|deprecated", re.IGNORECASE)


@pytest.fixture(scope="session")
def card(run_folder: Path) -> dict[str, Any]:
    """The run's model.json."""
    return json.loads((run_folder / "model/model.json").read_text())


@pytest.fixture(scope="session")
def events(run_folder: Path) -> EventAccumulator:
    """What TensorBoard shows of the run."""
    return EventAccumulator(str(run_folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def scalar(events: EventAccumulator, tag: str) -> dict[int, float]:
    """Values of a scalar by step."""
    return {event.step: event.value for event in events.Scalars(tag)}


def test_the_hyper_parameters_are_those_of_the_run(run_folder: Path) -> None:
    hparams = yaml.safe_load((run_folder / "hparams.yaml").read_text())
    assert hparams["data.batch_size"] == 32
    assert hparams == json.loads((run_folder / "metrics.json").read_text())["hparams"]


def test_a_fit_leaves_exactly_these_files(run_folder: Path) -> None:
    files = sorted(str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file())
    assert [file for file in files if not file.startswith("events.out.tfevents")] == [
        "checkpoints/best.ckpt",
        "checkpoints/step-00000020.ckpt",
        "config.yaml",
        "confusion.png",
        "curves.png",
        "data.txt",
        "hparams.yaml",
        "metrics.csv",
        "metrics.json",
        *(f"model/examples/{number:02}.png" for number in range(12)),
        "model/model.json",
        "model/weights.safetensors",
        "run.json",
    ]
    assert [path.name for path in run_folder.parent.parent.parent.iterdir()] == ["runs"]


def test_the_summary_counts_the_images_and_names_every_file(
    fit: subprocess.CompletedProcess, run_folder: Path, card: dict[str, Any]
) -> None:
    right = sum(card["confusion"]["test"][digit][digit] for digit in range(10))
    assert (
        fit.stdout.count(f"Test accuracy {100 * right / TEST_IMAGES:.2f}% ({right} of {TEST_IMAGES} held-out images)")
        == 1
    )
    assert f"Files in {run_folder}:" in fit.stdout
    named = re.findall(r"^  (\S+?)/? ", fit.stdout.split("Files in")[1].split("Next:")[0], flags=re.MULTILINE)
    shown = {path.name for path in run_folder.iterdir() if not path.name.startswith("events.out")}
    assert set(named) == shown | {"events.out.*"}
    assert len(fit.stdout.split("Next:\n")[1].splitlines()) == 3


def test_a_fit_says_nothing_that_looks_like_trouble(fit: subprocess.CompletedProcess) -> None:
    assert [line for line in fit.stderr.splitlines() if TROUBLE.search(line)] == []


def test_every_automatic_choice_is_said_once_with_its_reason(fit: subprocess.CompletedProcess) -> None:
    for choice in (
        "strategy: cpu (asked for)",
        "devices: 1 on this node (",
        "precision: 32-true (",
        "threads: ",
        "memory: ",
    ):
        assert fit.stderr.count(choice) == 1, choice


def test_a_checkpoint_loaded_in_a_script_has_the_optimizer_and_the_schedule_of_the_run(run_folder: Path) -> None:
    model = ImageClassifier.load_from_checkpoint(run_folder / "checkpoints/best.ckpt")
    optimizer = model.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (PEAK, 0.02)
    assert isinstance(model.lr_scheduler(optimizer), OneCycle)
    assert (model.backbone, model.label_smoothing, model.lost_factories) == ("resnet18", 0.1, [])


def test_the_config_is_taken_again_and_says_the_same(run_folder: Path, cache_dir: str, empty_folder: Path) -> None:
    class Instantiated(CLI):
        """Builds everything and runs nothing."""

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    cli = Instantiated(["fit", "--config", str(run_folder / "config.yaml")], started=0.0)
    written = yaml.safe_load((run_folder / "config.yaml").read_text())
    again = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))["fit"]
    assert again == written


def test_metrics_csv_has_the_losses_and_accuracies(run_folder: Path, card: dict[str, Any]) -> None:
    rows = list(csv.DictReader((run_folder / "metrics.csv").read_text().splitlines()))
    found = {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}
    assert len(found["train/loss"]) == STEPS / 2  # logged at every other step
    assert [int(row["step"]) for row in rows] == [*range(1, STEPS, 2), STEPS]  # one row a step; the last is the test's
    assert {row["epoch"] for row in rows} == {"0", "1"}
    assert {"train/images_per_second", "train/resolution", "lr-AdamW", "val/loss", "test/loss"} <= found.keys()
    for name in ("val/acc", "test/acc"):
        assert found[name] == [pytest.approx(card["metrics"][name])]


def test_tensorboard_has_the_scalars_of_training(events: EventAccumulator) -> None:
    logged = list(range(1, STEPS, 2))
    assert list(scalar(events, "train/loss")) == logged
    assert scalar(events, "train/resolution") == dict.fromkeys(scalar(events, "train/images_per_second"), 32.0)
    assert list(scalar(events, "train/images_per_second")) == logged
    assert min(scalar(events, "train/images_per_second").values()) > 0


def test_the_learning_rate_runs_through_one_whole_cycle(events: EventAccumulator) -> None:
    rates = scalar(events, "lr-AdamW")
    assert max(rates, key=lambda step: rates[step]) in (3, 5)  # on both sides of the peak at a fifth of 20 steps
    assert rates[1] == pytest.approx(PEAK * (0.04 + 0.96 / 4))
    assert rates[19] == pytest.approx(PEAK * (1 + torch.cos(torch.tensor(torch.pi * 15 / 16)).item()) / 2, rel=1e-4)


@pytest.mark.parametrize("split", ["val", "test"])
def test_tensorboard_has_the_metrics_of_the_artifact(split: str, events: EventAccumulator, card: dict) -> None:
    for name in ("acc", "top3", "ece", "loss"):
        logged = scalar(events, f"{split}/{name}")
        assert max(logged) == STEPS
        assert list(logged.values()) == pytest.approx([card["metrics"][f"{split}/{name}"]] * len(logged))


def test_tensorboard_has_the_pictures(events: EventAccumulator) -> None:
    assert sorted(events.Tags()["images"]) == ["test/confusion", "train/batch", "val/confusion"]
    [batch] = events.Images("train/batch")
    assert (batch.width, batch.height) == (8 * 34 + 2, 4 * 34 + 2)  # 32 images of 32 pixels, 2 between


def test_hparams_are_filled_with_options_and_final_metrics(events: EventAccumulator, card: dict[str, Any]) -> None:
    content = {tag: HParamsPluginData.FromString(data) for tag, data in events.PluginTagToContent("hparams").items()}
    options = content["_hparams_/session_start_info"].session_start_info.hparams
    assert options["model.backbone"].string_value == "resnet18"
    assert options["model.optimizer.init_args.lr"].number_value == PEAK
    assert content["_hparams_/session_end_info"].session_end_info.ListFields()
    columns = {info.name.tag for info in content["_hparams_/experiment"].experiment.metric_infos}
    assert columns == card["metrics"].keys()
    assert columns <= set(events.Tags()["scalars"])


def test_the_artifact_repeats_the_count_of_the_fit(run_folder: Path, card: dict[str, Any], cache_dir: str) -> None:
    network, _ = load_artifact(run_folder / "model")
    data = ImageData("digits", image_size=card["input_size"], cache_dir=cache_dir)
    data.prepare_data()
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for shard in data.test_dataloader():
        batch = data.make(shard, torch.device("cpu"))
        with torch.inference_mode():
            predicted = network(batch.images).argmax(dim=1)[: batch.num_valid]
        confusion.index_put_((batch.labels[: batch.num_valid], predicted), torch.tensor(1), accumulate=True)
    assert confusion.tolist() == card["confusion"]["test"]
    assert int(confusion.sum()) == TEST_IMAGES
    assert card["metrics"]["test/acc"] == pytest.approx(int(confusion.trace()) / TEST_IMAGES)
    assert int(confusion.trace()) > 2 * TEST_IMAGES / 10  # a constant answer would be right for a tenth


def test_the_card_says_how_the_network_is_fed_and_where_it_comes_from(card: dict[str, Any]) -> None:
    assert card["classes"] == [str(digit) for digit in range(10)]
    assert (card["input_size"], card["stored_size"], card["backbone"]) == (32, 8, "resnet18")
    assert (card["mean"], card["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert card["provenance"]["steps"] == STEPS
    assert card["provenance"]["world_size"] == 1
    assert sum(map(sum, card["confusion"]["val"])) == VAL_IMAGES


def test_the_averaged_weights_are_what_was_kept(run_folder: Path) -> None:
    checkpoint = torch.load(run_folder / "checkpoints/best.ckpt", weights_only=True)
    kept = load_artifact(run_folder / "model")[0].backbone.state_dict()
    averaged = {name: checkpoint["state_dict"][f"network.backbone.{name}"] for name in kept}
    current = {name: checkpoint["current_model_state"][f"network.backbone.{name}"] for name in kept}
    assert [name for name in kept if not torch.equal(kept[name], averaged[name])] == []
    assert not torch.equal(kept["fc.weight"], current["fc.weight"])


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_a_verb_repeats_the_fits_numbers_from_its_checkpoint_and_leaves_nothing_here(
    verb: str,
    run_folder: Path,
    card: dict[str, Any],
    cache_dir: str,
    empty_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("copy") / "tiny/version_0"))
    # With the run's config; or without one, and with missing initial weights: the checkpoint has them.
    config = ["--config", str(run_folder / "config.yaml")]
    alone = ["--data.cache_dir", cache_dir, "--trainer.precision", "32-true", "--model.weights", "gone.pth"]
    by_name = ["--name", "tiny", "--runs_dir", str(copy.parents[1])]
    checkpoint = {"validate": ["best", *by_name], "predict": ["last", *by_name]}.get(verb, [str(copy)])
    cli = CLI([verb, *(config if verb == "predict" else alone), "--ckpt_path", *checkpoint], started=0.0)
    assert confusion_of(cli, verb) == card["confusion"]["val" if verb == "validate" else "test"]
    assert list(empty_folder.iterdir()) == []
    if verb == "predict":
        assert_one_row_per_image(copy / "predictions.csv", card)


def assert_one_row_per_image(table: Path, card: dict[str, Any]) -> None:
    """Each test image once, and as many correct as the fit counted."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len({row["image"] for row in rows}) == len(rows) == TEST_IMAGES
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert right == sum(card["confusion"]["test"][label][label] for label in range(10))


def confusion_of(cli: CLI, verb: str) -> list[list[int]]:
    """Rows are true classes, columns predictions."""
    if verb != "predict":
        return cli.model.results["val" if verb == "validate" else "test"]["confusion"].tolist()
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for batch in cli.trainer.predict_loop.predictions:
        index = (batch["labels"], batch["probabilities"].argmax(dim=1))
        confusion.index_put_(index, torch.tensor(1), accumulate=True)
    return confusion.tolist()


@pytest.mark.slow
def test_the_next_fit_gets_a_folder_of_its_own_and_touches_no_other(
    tiny: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = empty_folder / "runs/tiny/version_0"
    first.mkdir(parents=True)
    (first / "config.yaml").write_text("precious")
    assert main(["fit", *tiny, *FEW, "--trainer.strategy", "cpu"]) == 0
    assert sorted(path.name for path in first.parent.iterdir()) == ["version_0", "version_1"]
    assert (first / "config.yaml").read_text() == "precious"
    assert (first.parent / "version_1/model/model.json").exists()
    assert f"Files in {Path('runs/tiny/version_1')}:" in capsys.readouterr().out


@pytest.mark.slow
def test_of_epochs_that_validate_alike_the_last_is_kept(tiny: list[str], empty_folder: Path) -> None:
    # The head moves by too little to change an answer: both epochs validate alike.
    still = ["--model.freeze_backbone", "true", "--model.optimizer.init_args.lr", "1e-6", "--trainer.max_epochs", "2"]
    assert main(["fit", *tiny, *FEW, *still, "--trainer.strategy", "cpu"]) == 0
    [run] = Path("runs/tiny").iterdir()
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    kept = load_artifact(run / "model")[0].backbone.classifier[1].weight
    assert best["epoch"] == 2  # epochs that are behind
    assert torch.equal(kept, best["state_dict"]["network.backbone.classifier.1.weight"])


@pytest.mark.slow
def test_the_epoch_that_validation_chose_is_kept_though_training_went_on(
    tiny: list[str], empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = iter([0.5, 0.25])
    monkeypatch.setattr(BestChoice, "_score", lambda best, metrics: next(validated))
    assert main(["fit", *tiny, *FEW, "--trainer.max_epochs", "2", "--trainer.strategy", "cpu"]) == 0
    [run] = Path("runs/tiny").iterdir()
    files = [run / "checkpoints/best.ckpt", next(iter(step_files(run / "checkpoints").values()))]
    best, last = (torch.load(file, weights_only=True) for file in files)
    kept = load_artifact(run / "model")[0].backbone.classifier[1].weight
    assert (best["epoch"], last["epoch"]) == (1, 2)
    assert torch.equal(kept, best["state_dict"]["network.backbone.classifier.1.weight"])
    assert not torch.equal(kept, last["state_dict"]["network.backbone.classifier.1.weight"])


def test_ddp_on_this_machine_tests_every_image_once_and_sums_up_once(program: Program, tiny: list[str]) -> None:
    two = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    # The second rank gets one of three chunks of test images, and no validation image at all.
    chunks = ["--data.eval_batch_size", "125"]
    process = program("fit", *tiny, *two, *chunks, "--runs_dir", "runs")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count(f" of {TEST_IMAGES} held-out images)") == 1
    assert process.stdout.count("Files in runs/tiny/version_0:") == 1
    assert process.stderr.count("strategy: ddp (asked for)") == 1
    assert [line for line in process.stderr.splitlines() if TROUBLE.search(line)] == []


def test_a_dev_run_is_one_epoch_whatever_the_sides_and_keeps_nothing(tiny: list[str], empty_folder: Path) -> None:
    assert main(["fit", *tiny, "--data.image_size", "[24,24,32]", "--trainer.fast_dev_run", "true"]) == 0
    assert list(empty_folder.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_without_a_gpu_is_one_line_and_leaves_no_folder(
    tiny: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--trainer.strategy", "gpu"]) == 2
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("error: --trainer.strategy gpu: found no GPU")]
    assert "Traceback" not in said
    assert list(empty_folder.iterdir()) == []
