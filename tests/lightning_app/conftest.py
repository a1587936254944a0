"""The program as its users run it, and one finished fit that the tests share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_app.results import write_results

REPOSITORY = Path(__file__).parents[2]
LOGGERS = ("lightning_app", "models", "datamodules", "lightning.pytorch")
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Run `python -m lightning_app` in a separate process, in an empty folder unless told otherwise."""

    def run(
        *args: str, cwd: Path | None = None, path: Path = REPOSITORY, python_options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *python_options, "-m", "lightning_app", *args],
            cwd=cwd or tmp_path_factory.mktemp("empty"),
            env=os.environ | {"PYTHONPATH": str(path)},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the digits are packed, once for all tests."""
    return str(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def tiny(cache_dir: str) -> list[str]:
    """Options of a fit that takes seconds. In float32, so that another process can repeat its numbers."""
    options = {
        "--config": "configs/quickstart.yaml",
        "--name": "tiny",
        "--trainer.precision": "32-true",
        "--trainer.max_epochs": "1",
        "--trainer.limit_train_batches": "4",
        "--trainer.log_every_n_steps": "2",
        "--data.image_size": "32",
        "--data.val_fraction": "0.05",
        "--data.cache_dir": cache_dir,
    }
    return [word for option in options.items() for word in option]


@pytest.fixture(scope="session")
def short(cache_dir: str) -> list[str]:
    """Options of a fit that takes a second."""
    options = {
        "--config": "configs/quickstart.yaml",
        "--name": "short",
        "--trainer.strategy": "cpu",
        "--trainer.precision": "32-true",
        "--trainer.max_epochs": "3",
        "--trainer.limit_train_batches": "6",
        "--trainer.limit_test_batches": "1",
        "--trainer.log_every_n_steps": "4",
        "--model.backbone": "shufflenet_v2_x0_5",
        "--model.dropout": "null",
        "--data.image_size": "32",
        "--data.cache_dir": cache_dir,
    }
    return [word for option in options.items() for word in option]


@pytest.fixture(scope="session")
def fit(program: Program, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    """A finished fit of 20 batches on the CPU, with a network that learns something in so few."""
    resnet = ["--model.backbone", "resnet18", "--model.dropout", "null"]
    steps = ["--trainer.limit_train_batches", "20", "--model.optimizer.init_args.lr", "0.0005"]
    cwd = tmp_path_factory.mktemp("fit")
    one_process = ["--trainer.strategy", "cpu", "--runs_dir", str(cwd / "runs")]
    process = program("fit", *tiny, *resnet, *steps, *one_process, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return process


@pytest.fixture(scope="session")
def run_folder(fit: subprocess.CompletedProcess) -> Path:
    """The run folder of that fit."""
    return Path(fit.args[fit.args.index("--runs_dir") + 1]) / "tiny/version_0"


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock, for fits whose plots no one looks at: drawing them takes a third of a short fit."""
    monkeypatch.setattr(write_results, "write_plot", lambda path, draw: None)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what the program does to logging, environment, threads and ranks when it runs inside a test."""
    monkeypatch.setattr(sys, "argv", ["pytest"])
    environment, threads = dict(os.environ), torch.get_num_threads()
    # If it is unset, or another rank's, only the first rank's loggers would write.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in map(logging.getLogger, LOGGERS)]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    torch.set_num_threads(threads)
