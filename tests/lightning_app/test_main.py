"""The front door: quick help, and errors that say what to type instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lightning_app
from lightning_app.__main__ import OWN_PARSERS, VERBS, main, tell_lightning
from lightning_app.launchers.launch import Launch

Program = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_verb_and_imports_neither_torch_nor_lightning(program: Program) -> None:
    process = program("--help", python_options=("-X", "importtime"))
    imported = {line.split("|")[-1].strip() for line in process.stderr.splitlines()}
    assert process.returncode == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in process.stdout] == []
    assert "lightning_app.cli.config_files" in imported
    assert imported & {"torch", "lightning", "numpy"} == set()


@pytest.mark.parametrize("verb", OWN_PARSERS)
def test_verbs_with_options_of_their_own_explain_them_without_torch(program: Program, verb: str) -> None:
    process = program(verb, "--help", python_options=("-X", "importtime"))
    imported = {line.split("|")[-1].strip() for line in process.stderr.splitlines()}
    assert f"python -m lightning_app {verb}" in process.stdout
    assert imported & {"torch", "lightning"} == set()


def test_an_unknown_verb_suggests_the_nearest_in_one_line_and_exits_2(program: Program) -> None:
    process = program("validat", "--config", "x.yaml")
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == "error: unknown verb validat: did you mean validate?\n"


def test_debug_shows_where_an_error_came_from(program: Program) -> None:
    process = program("--debug", "validat")
    assert process.returncode == 1
    assert process.stderr.startswith("Traceback (most recent call last):")
    assert process.stderr.endswith("UsageError: unknown verb validat: did you mean validate?\n")


def test_without_a_verb_the_help_is_shown_and_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m lightning_app <verb>" in capsys.readouterr().out


def test_a_verb_like_no_other_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xxxxx"]) == 2
    assert capsys.readouterr().err == f"error: unknown verb xxxxx: expected {', '.join(VERBS)}.\n"


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{lightning_app.__version__}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.strategy", "cpu", "--trainer.devices", "2"], "error: --trainer.strategy cpu is one process"),
        (["--data.val_fraction", "1.5"], "error: data.val_fraction is 1.5"),
        (["--model.backbone", "mobilenetv2"], "error: unknown backbone mobilenetv2: did you mean mobilenet_v2?"),
        (["--data.batch_sise", "3"], "error: there is no option data.batch_sise: did you mean data.batch_size?"),
        (["--config", "nowhere.yaml"], "error: no config at nowhere.yaml; the program comes with configs/"),
    ],
    ids=["usage", "data", "model", "misspelt", "no config"],
)
def test_what_cannot_be_had_exits_2_with_one_line_and_leaves_nothing(
    options: list[str], message: str, tiny: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "Traceback"))]
    assert len(errors) == 1
    assert errors[0].startswith(message)
    assert list(empty_folder.iterdir()) == []


def test_under_debug_the_error_itself_comes_through(tiny: list[str], empty_folder: Path) -> None:
    with pytest.raises(lightning_app.errors.UsageError, match="cpu is one process"):
        main(["fit", *tiny, "--trainer.strategy", "cpu", "--trainer.devices", "2", "--debug"])


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_what_measures_a_checkpoint_is_not_run_without_one(
    verb: str, tiny: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *tiny]) == 2
    assert f"error: {verb} needs a trained checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fit_imports_only_what_it_uses_from_the_start() -> None:
    """torchmetrics brings matplotlib by itself; nothing of ours may bring it, or what is heavier."""
    code = """\
import sys
from lightning_app.imports import quick_imports
with quick_imports():
    before = set(sys.modules)
    import lightning_app.cli.cli
    print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(process.stdout.split())
    assert {"lightning_app", "models", "datamodules"} <= imported
    assert imported & {"gradio", "matplotlib", "tensorboard", "sklearn", "onnx", "onnxruntime", "serve"} == set()


RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.mark.parametrize(
    ("launch", "left"),
    [
        (Launch("openmpi", 3, 2, 1, 2, None, None), ["2", "1", "7", "n1", "29500"]),
        (Launch("torchrun", 1, 0, 0, 1, 0, 1), [None] * 5),
        (Launch("none", 1, 0, 0, 1, 0, 1), [None, None, None, "n1", "29500"]),
        (Launch("lightning", 2, 1, 1, 2, 0, 1), ["5", "6", "7", "n1", "29500"]),
    ],
    ids=lambda value: getattr(value, "launcher", ""),
)
def test_lightning_reads_the_true_rank_and_a_single_one_may_start_others(
    launch: Launch, left: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(RANKS, ("5", "6", "7", "n1", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    tell_lightning(launch)
    assert [os.environ.get(name) for name in RANKS] == left
