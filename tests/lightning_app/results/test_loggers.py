"""Where the logs of a run start."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_app.checkpointing.run_directory import Start
from lightning_app.results.loggers import run_loggers


@pytest.mark.parametrize(("again", "purged"), [(True, 12), (False, None)])
def test_steps_that_come_again_are_hidden_and_only_those(again: bool, purged: int | None, tmp_path: Path) -> None:
    tensorboard, table = run_loggers(str(tmp_path), "tiny", Start(3, step=12, again=again), lambda: 0)
    assert isinstance(tensorboard, TensorBoardLogger)
    assert tensorboard._kwargs["purge_step"] == purged
    assert (tensorboard.log_dir, table.save_dir) == (str(tmp_path / "tiny/version_3"),) * 2
