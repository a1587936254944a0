"""fit as a function."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_app.errors import Stopped, UsageError
from lightning_app.library.own_process import Ended, run_program

USAGE_ERROR, STOPPED = 2, 75  # exit codes of the program
LAST_LINES = 20  # of what a failed run printed


@dataclass(frozen=True)
class Run:
    """A finished fit.

    Attributes:
        folder: <runs_dir>/<name>/version_<n>, with config.yaml, metrics.csv, metrics.json, plots and checkpoints.
        metrics: the final ones by name, for example test/acc; NaN for one that was not finite.
        artifact: the folder of the trained model, for models.artifact.load_artifact() and `python -m serve --model`.
        epoch: epochs up to the exported weights.
        step: optimizer steps up to the exported weights.
    """

    folder: Path
    metrics: Mapping[str, float]
    artifact: Path
    epoch: int
    step: int


def fit(
    config: str | os.PathLike[str] | None = None, options: Mapping[str, Any] | None = None, *, show: bool = True
) -> Run:
    """Train, validate and test, as `python -m lightning_app fit` does, in separate processes.

    So scripts, notebooks and sweeps can run any number of fits, serial or ddp, one after the other or in parallel
    threads. Classes named by class path in the options are imported with this process's import path.

    Args:
        config: path of a recipe, or a shipped one such as "configs/quickstart.yaml".
        options: named as on the command line, for example {"trainer.max_epochs": 3}; they override the config.
        show: print what the run prints.

    Raises:
        UserError: an option, the data or the machine is wrong; the message is the one that the command line prints.
        Stopped: it was asked to stop (a signal, the job's time limit) and has saved; the same call resumes it.
        RuntimeError: it failed otherwise; the message includes the last lines that it printed.
    """
    ended = run_program(["fit", *command_line(config, options or {})], show)
    if ended.code:
        raise error_of(ended)
    if ended.folder is None:
        raise Stopped("there is no run: it was a dev run, or an earlier attempt of this job finished it.")
    return read_run(ended.folder)


def command_line(config: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> list[str]:
    """The options of `python -m lightning_app fit`."""
    configs = [] if config is None else [f"--config={os.fspath(config)}"]
    return [*configs, *(f"--{name}={as_text(value)}" for name, value in options.items())]


def as_text(value: Any) -> str:
    """A value in command-line form: strings and paths unchanged, everything else as JSON.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    try:
        return json.dumps(value)
    except TypeError as error:
        raise UsageError(
            f"an option's value is {value!r}; expected a number, a string, a path, None, a list or a dict. Name "
            "classes by their class path, as in a config file."
        ) from error


def error_of(ended: Ended) -> Exception:
    """The exception for a run that did not finish."""
    if ended.code == USAGE_ERROR and ended.error:
        return UsageError(ended.error)
    lines = "\n".join(ended.errors.splitlines()[-LAST_LINES:])
    if ended.code == STOPPED:
        return Stopped(f"the run was asked to stop and has saved:\n{lines}")
    return RuntimeError(f"the run failed (exit code {ended.code}):\n{lines}")


def read_run(folder: Path) -> Run:
    """The results in a finished fit's folder."""
    found = json.loads((folder / "metrics.json").read_text())
    metrics = {name: math.nan if value is None else value for name, value in found["metrics"].items()}
    return Run(folder, metrics, folder / found["model"], found["epoch"], found["step"])
