"""The real program, with its callbacks and loggers, gives the same numbers with two ranks as with one.

With frozen batch statistics, in which ranks differ by design; tests/lightning_app/callbacks/test_batch_statistics.py
tests their averaging.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from equality import curves, last_checkpoint
from time_limits import limit

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

OPTIONS = {
    "--config": "configs/quickstart.yaml",
    "--name": "agree",
    "--trainer.precision": "32-true",
    "--trainer.max_epochs": "2",
    "--trainer.limit_train_batches": "5",
    "--trainer.log_every_n_steps": "2",
    "--ema_decay": "0.5",  # far from the weights
    "--model.backbone": "shufflenet_v2_x0_5",
    "--model.freeze_backbone": "true",  # and with it the batch statistics
    "--model.dropout": "null",
    "--data.batch_size": "33",  # which two ranks do not divide
    "--data.image_size": "32",
}
TWO_RANKS = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
MEASURED = {"train/images_per_second", "epoch", "step"}
TOLERANCE = 1e-4  # from sums in another order, over ten steps; values are of order one


def fit(folder: Path, *options: str) -> Path:
    """The folder of a run."""
    words = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(folder / "runs"), "--data.cache_dir", str(folder.parent / "packed")]
    command = [sys.executable, "-m", "lightning_app", "fit", *words, *where, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(400))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "runs/agree/version_0"


def numbers(run: Path) -> dict[tuple[str, str], float]:
    """Every logged value by step and name, other than measurements of time."""
    return {
        (row["step"], name): float(value) for row in curves(run) for name, value in row.items() if name not in MEASURED
    }


def tensors(state: Any, name: str = "") -> dict[str, torch.Tensor]:
    """The floating-point tensors of a checkpoint: weights, average, optimizer."""
    if isinstance(state, torch.Tensor):
        return {name: state} if state.is_floating_point() else {}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {key: found for inner, value in items for key, found in tensors(value, f"{name}.{inner}").items()}


def test_one_and_two_ranks_log_and_save_the_same_numbers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = fit(tmp_path / "one", "--trainer.strategy", "cpu"), fit(tmp_path / "two", *TWO_RANKS)
    logged = numbers(one)
    assert {"train/loss", "val/loss", "val/acc", "test/loss", "test/acc"} <= {name for _, name in logged}
    assert numbers(two) == pytest.approx(logged, rel=TOLERANCE, abs=TOLERANCE)
    saved, found = (tensors(last_checkpoint(run) | {"ranks": None}) for run in (one, two))
    assert saved.keys() == found.keys()
    assert {"state_dict", "current_model_state", "optimizer_states"} <= {name.split(".")[1] for name in saved}
    for name, values in saved.items():
        torch.testing.assert_close({name: found[name]}, {name: values}, rtol=TOLERANCE, atol=TOLERANCE)
