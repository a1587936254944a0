"""Which checkpoint a command line is about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.datamodule import ImageData
from lightning_app.checkpointing.checkpoint_io import write_checkpoint
from lightning_app.cli.evaluation import EvaluationCLI, as_resume, named_on
from lightning_app.cli.parser import Parser, add_options
from lightning_app.errors import UsageError
from models.classifier import ImageClassifier


@pytest.mark.parametrize("where", ["command line", "config"])
def test_a_word_is_of_the_run_that_name_and_runs_dir_say(where: str, tmp_path: Path) -> None:
    best = tmp_path / "pets/version_3/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    options = ["--name", "pets", "--runs_dir", str(tmp_path)]
    if where == "config":
        options = ["--config", f"{{name: pets, runs_dir: {tmp_path}}}"]
    assert named_on([*options, "--ckpt_path", "best"]) == best
    assert named_on(["--ckpt_path=best", *options]) == best
    assert named_on(options) is None


def test_lightnings_name_for_where_a_fit_begins_is_ours_too() -> None:
    given = ["--config", "ckpt_path.yaml", "--ckpt_path", "last", "--ckpt_path=a/b.ckpt", "--name", "--ckpt_paths"]
    meant = ["--config", "ckpt_path.yaml", "--resume", "last", "--resume=a/b.ckpt", "--name", "--ckpt_paths"]
    assert as_resume(given) == meant


def test_without_a_name_the_run_is_the_one_that_fit_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = Parser()
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_lightning_class_args(ImageData, "data")
    parser.add_lightning_class_args(ImageClassifier, "model")
    add_options(parser)
    options = parser.get_defaults()
    best = Path(options.runs_dir) / options.name / "version_0/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    assert named_on(["--ckpt_path", "best"]) == best


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """Of a run with a model class of the user's."""
    options = {"model_class": '"mine.Model"', "data.batch_size": "8"}
    write_checkpoint({"run": {"options": options, "facts": {}}}, tmp_path / "some.ckpt")
    return str(tmp_path / "some.ckpt")


def with_options(*args: str) -> list[str]:
    """The command line with the options of its checkpoint's run."""
    cli = EvaluationCLI.__new__(EvaluationCLI)  # its constructor would run the command
    return cli.with_options_of_checkpoint(list(args))


def test_what_the_command_line_says_comes_after_what_the_run_says(checkpoint: str) -> None:
    verb, *options = with_options("test", "--data.batch_size", "4", "--ckpt_path", checkpoint)
    assert (verb, options[0]) == ("test", "--config")
    assert json.loads(options[1]) == {"model_class": "mine.Model", "data": {"batch_size": 8}}
    assert options[2:4] == ["--data.batch_size", "4"]
    assert options[-2:] == ["--ckpt_path", checkpoint]


def test_another_model_class_than_the_runs_is_an_error_before_its_options_are_read(checkpoint: str) -> None:
    same = ["--model_class", "mine.Model", "--ckpt_path", checkpoint]
    assert with_options("predict", *same)[3:] == [*same, "--ckpt_path", checkpoint]
    with pytest.raises(UsageError, match=r"model_class is mine\.Model there and other\.Model here\. Leave it out"):
        with_options("predict", "--model_class=other.Model", "--model.gamma", "2", "--ckpt_path", checkpoint)


@pytest.mark.parametrize("args", [["test"], ["bench", "--ckpt_path", "best"], ["fit", "--name", "a"]])
def test_a_command_without_a_checkpoint_stays_as_it_is(args: list[str]) -> None:
    assert with_options(*args) == args
