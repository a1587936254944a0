"""The blocks of docs/library.md run as they are written, on less data."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_app.cli.cli import fit_options
from lightning_app.library import fit as subject
from lightning_app.library.own_process import Ended, run_program

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/library.md").read_text()
SMALL = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.precision=32-true",
    "--model.backbone=shufflenet_v2_x0_5",
    "--model.dropout=null",
    "--data.image_size=32",
)


def block(heading: str, language: str = "python") -> str:
    """The code below a heading."""
    below = PAGE.partition(f"\n## {heading}\n")[2]
    found = re.search(rf"^```{language}\n(.*?)^```", below, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What fit() runs: as written, and then small; in an empty folder."""
    noted: list[list[str]] = []

    def run(args: Sequence[str], show: bool = True) -> Ended:
        noted.append(list(args))
        return run_program([*args, *SMALL], show)

    monkeypatch.setattr(subject, "run_program", run)
    monkeypatch.chdir(tmp_path)
    return noted


def execute(code: str) -> dict[str, Any]:
    """Run a block; returns its names."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.slow
def test_the_function(commands: list[list[str]], tmp_path: Path) -> None:
    names = execute(block("The fit as a function"))
    assert commands == [["fit", "--config=configs/quickstart.yaml", "--trainer.max_epochs=3"]]
    assert names["run"].folder == tmp_path / "runs/quickstart/version_0"
    assert names["run"].artifact == names["run"].folder / "model"
    assert {"val/acc", "test/acc", "test/loss"} <= names["run"].metrics.keys()


@pytest.mark.slow
def test_a_plain_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = execute(block("A plain Trainer"))
    assert names["model"].results["test"]["confusion"].sum() == 360


@pytest.mark.slow
def test_a_sweep(commands: list[list[str]], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="no optuna: pip install optuna")
    study = execute(block("A sweep with Optuna"))["study"]
    assert len(commands) == 4
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"trial{number}" for number in range(4)]
    [cache] = {path.parent for path in (tmp_path / "data/packed").rglob("meta.json")}
    assert cache.is_dir()


def test_an_array_task_is_a_fit_with_its_own_rate(tmp_path: Path) -> None:
    script = tmp_path / "srun"
    script.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1"}
    said = subprocess.run(
        ["bash", "-c", block("A sweep as a SLURM array", "bash")], env=environment, capture_output=True, text=True
    ).stdout.split("\n")[:-1]
    assert said[:4] == ["python", "-m", "lightning_app", "fit"]
    options = fit_options(said[4:])
    assert (options.name, options.model.optimizer.init_args.lr) == ("rate1", 0.003)
