"""A fit with torch.compile: the same run, under the same names. torch's debugging backends stand in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from equality import differences, last_checkpoint
from safetensors import safe_open

from lightning_app.__main__ import main
from models.classifier import ImageClassifier

Program = Callable[..., subprocess.CompletedProcess[str]]
# No batch norm and no division by small numbers, so that ranks may be compared closely; sizes that grow; an average far
# from the weights.
OPTIONS = {
    "--model.backbone": "squeezenet1_1",
    "--model.dropout": "0.0",
    "--model.freeze_layers": "[features.0]",
    "--model.optimizer": "torch.optim.SGD",
    "--model.optimizer.init_args.lr": "0.05",
    "--model.optimizer.init_args.momentum": "0.9",
    "--trainer.max_epochs": "2",
    "--trainer.limit_train_batches": "3",
    "--data.image_size": "[32, 48]",
    "--data.augment.rotation": "0",
    "--ema_decay": "0.5",
}
COMPILED = re.compile(r"compile: (\w+), (\d+) images of (\d+) pixels: \d+\.\d s")
EACH_SIZE_ONCE = [("evaluation", "250", "48"), ("training", "16", "32"), ("training", "16", "48")]


def words() -> list[str]:
    """OPTIONS on the command line."""
    return [word for option in OPTIONS.items() for word in option]


def fit(short: list[str], runs: Path, *more: str) -> int:
    """The exit code of a fit."""
    try:
        return main(["fit", *short, *words(), "--runs_dir", str(runs), *more])
    except SystemExit as end:
        return int(str(end.code))


@pytest.fixture(scope="module")
def plain(short: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is not compiled."""
    runs = tmp_path_factory.mktemp("plain")
    assert fit(short, runs) == 0
    return runs / "short/version_0"


def names(state: Any) -> Iterator[str]:
    """Every key in a checkpoint, however deep."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield str(key)
            yield from names(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from names(value)


def test_a_compiled_run_that_is_stopped_and_goes_on_ends_with_the_bits_of_one_that_is_neither(
    short: list[str], plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step, left = ImageClassifier.training_step, [5]

    def stopped(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        if [module.trainer.global_step + 1] == left:
            left.clear()
            os.kill(os.getpid(), signal.SIGUSR1)
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", stopped)
    assert fit(short, tmp_path, "--model.compile", "eager") == 75
    assert fit(short, tmp_path, "--model.compile", "eager") == 0
    ours, theirs = last_checkpoint(tmp_path / "short/version_0"), last_checkpoint(plain)
    assert [each for each in differences(ours, theirs) if "compile" not in each] == []
    assert [name for name in names(ours) if "_orig_mod" in name] == []


def test_two_compiled_ranks_compile_each_size_once_and_leave_the_weights_of_one_that_is_not(
    short: list[str], program: Program, plain: Path, tmp_path: Path
) -> None:
    ranks = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--model.compile", "aot_eager"]
    process = program("fit", *short, *words(), *ranks, "--runs_dir", str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert sorted(COMPILED.findall(process.stderr)) == EACH_SIZE_ONCE
    ours, theirs = weights(tmp_path / "short/version_0"), weights(plain)
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        torch.testing.assert_close(ours[name], values, rtol=0, atol=1e-5, msg=name)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Those of the artifact."""
    with safe_open(run / "model/weights.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
