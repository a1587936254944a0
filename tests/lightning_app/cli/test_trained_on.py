"""A checkpoint knows what it was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_app.checkpointing.checkpoint_io import write_checkpoint
from lightning_app.cli.trained_on import TrainedOn, given
from lightning_app.errors import UsageError

PATH = Path("runs/x/version_0/checkpoints/best.ckpt")
OPTIONS = {
    "seed_everything": 3,
    "model.backbone": "resnet18",
    "model.dropout": None,
    "data.augment.flip": 0.0,
    "data.val_fraction": 0.2,
}
TRAINED = TrainedOn(PATH, OPTIONS, ["cat", "dog"], "digest")


def data(classes: list[str], content: str = "digest") -> Any:
    """Packed data of these classes."""
    return SimpleNamespace(packed=SimpleNamespace(classes=classes, content=content, folder=Path("packed/pets")))


@pytest.mark.parametrize("args", [["--name", "a b"], ["--x=1", "--name=a b", "--y", "2"], ["--name=x", "--name=a b"]])
def test_an_option_is_found_on_the_command_line(args: list[str]) -> None:
    assert given(args, "name") == "a b"
    assert given(args, "names") is None


def test_an_option_is_found_in_a_config_and_the_last_one_counts(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: of the file\ntrainer: {max_epochs: 3}\n")
    assert given(["--config", str(file)], "name") == "of the file"
    assert given(["--name=before", f"--config={file}"], "name") == "of the file"
    assert given([f"--config={file}", "--name", "after"], "name") == "after"
    assert given(["--name=before", "--config", "{runs_dir: 7}"], "name") == "before"
    assert given(["-c", "{runs_dir: 7}"], "runs_dir") == "7"


def test_the_options_are_a_config_again() -> None:
    assert json.loads(TRAINED.as_config()) == {
        "seed_everything": 3,
        "model": {"backbone": "resnet18", "dropout": None},
        "data": {"augment": {"flip": 0.0}, "val_fraction": 0.2},
    }


def test_what_a_checkpoint_records_is_read_without_what_its_evaluation_does_not_use(tmp_path: Path) -> None:
    options = {"seed_everything": "3", "model.backbone": '"resnet18"', "model.weights": '"none"', "runs_dir": '"runs"'}
    options |= {"model.optimizer.lr": "0.1", "data.image_size": "[24, 32]", "trainer.max_epochs": "7"}
    facts = {"classes": ["dog", "cat"], "data": "digest", "world_size": 2}
    write_checkpoint({"run": {"options": options, "facts": facts}}, tmp_path / "ours.ckpt")
    write_checkpoint({"state_dict": {}}, tmp_path / "a script's.ckpt")
    used = {"seed_everything": 3, "model.backbone": "resnet18", "data.image_size": [24, 32]}
    ours = tmp_path / "ours.ckpt"
    assert TrainedOn.read(ours) == TrainedOn(ours, used, ["dog", "cat"], "digest")
    theirs = tmp_path / "a script's.ckpt"
    assert TrainedOn.read(theirs) == TrainedOn(theirs, {}, None, None)


def test_another_model_is_an_error_with_both_values() -> None:
    ours = json.loads(TRAINED.as_config())
    TRAINED.check_model(ours)
    ours["model"] |= {"backbone": "resnet50", "dropout": 0.5}
    with pytest.raises(UsageError, match=r"backbone is resnet18 there and resnet50 here; model\.dropout is null"):
        TRAINED.check_model(ours)


@pytest.mark.parametrize("change", [{"seed_everything": 4}, {"data": {"val_fraction": 0.25}}])
def test_another_split_is_an_error_with_both_values(change: dict[str, Any]) -> None:
    ours = json.loads(TRAINED.as_config())
    TRAINED.check_split(ours)
    TRAINED.check_model(ours | change)
    with pytest.raises(UsageError, match=r"is (3|0\.2) there and (4|0\.25) here: its training images would be"):
        TRAINED.check_split(ours | change)


@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat", "dogs"], ["cat"], ["cat", "cow", "dog"]])
def test_other_classes_or_another_order_is_an_error(classes: list[str]) -> None:
    with pytest.raises(UsageError, match="trained on the classes cat, dog, but packed/pets has"):
        TRAINED.check_classes(data(classes))
    TRAINED.check_classes(data(["cat", "dog"], "other"))
    replace(TRAINED, classes=None).check_classes(data(classes))


def test_other_data_is_told_from_the_runs() -> None:
    assert [TRAINED.is_other_data(data([], content)) for content in ("digest", "other")] == [False, True]
    assert not replace(TRAINED, content=None).is_other_data(data([], "other"))
