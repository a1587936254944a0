"""Which steps a run counts, and the moments that it notes, on a made-up clock."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_app.compare.measuring import measure as module
from lightning_app.compare.measuring.measure import Measure
from lightning_app.compare.measuring.rules import WARM_UP
from lightning_app.compare.measuring.timestamps import length

CPU = torch.device("cpu")


class Run:
    """A fit in which making a batch takes a second, and the rest of step n takes 10 n seconds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int = 0) -> None:
        self.now, self.batch = 1000.0, SimpleNamespace(images=torch.empty(2, 3, 24, 24))
        monkeypatch.setattr(module, "mark", lambda device: self.now)
        clock = SimpleNamespace(time=lambda: self.now, perf_counter=lambda: self.now)
        monkeypatch.setattr(module, "time", clock)
        self.data = SimpleNamespace(make=self.make, batch_size=8)
        self.trainer: Any = SimpleNamespace(
            datamodule=self.data,
            save_checkpoint=lambda: self.wait(7.0),
            model=torch.nn.Linear(1, 1),
            global_rank=0,
            local_rank=0,
            world_size=1,
            precision="32-true",
            global_step=0,
            should_stop=False,
            sanity_checking=False,
            callback_metrics={"val/acc": torch.tensor(0.5)},
            strategy=SimpleNamespace(root_device=CPU),
        )
        confusion = torch.tensor([[5, 1], [2, 4]])
        self.module: Any = SimpleNamespace(results={"test": {"confusion": confusion}})
        self.measure = Measure(str(folder), steps)
        self.file = folder / "rank-0.json"
        self.measure.on_fit_start(self.trainer, self.module)
        self.measure.on_train_start(self.trainer, self.module)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def make(self, shard: object, device: torch.device) -> None:
        self.wait(1.0)

    def epoch(self, steps: int) -> None:
        """Train for so many steps."""
        self.measure.on_train_epoch_start(self.trainer, self.module)
        for index in range(steps):
            self.data.make(None, CPU)
            self.trainer.global_step += 1
            self.wait(10.0 * self.trainer.global_step)
            self.measure.on_train_batch_end(self.trainer, self.module, None, self.batch, index)

    def found(self) -> dict[str, Any]:
        """What it has written."""
        self.measure.teardown(self.trainer, self.module, "fit")
        return json.loads(self.file.read_text())


def test_steps_count_after_warming_up_unless_they_begin_an_epoch_or_follow_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch)
    run.epoch(WARM_UP + 2)
    run.trainer.save_checkpoint()
    run.epoch(3)
    found = run.found()
    assert found["steps"] == [41.0, 51.0, 71.0, 81.0]  # not 6, which begins an epoch
    assert found["data"] == [1.0] * 4
    assert found["checkpoint_s"] == 7.0
    assert found["training_began"] == 1000.0
    assert (found["first_step_ended"], found["image_size"]) == (1011.0, 24)


def test_a_run_of_counted_steps_ends_after_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, steps=2)
    run.epoch(WARM_UP + 1)
    assert run.trainer.should_stop is False
    run.epoch(2)
    assert run.trainer.should_stop is True


def test_validations_are_noted_with_their_step_and_the_test_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch)
    run.epoch(2)
    run.measure.on_validation_start(run.trainer, run.module)
    run.wait(5.0)
    run.measure.on_validation_end(run.trainer, run.module)
    run.measure.on_test_start(run.trainer, run.module)
    run.wait(3.0)
    run.measure.on_test_end(run.trainer, run.module)
    found = run.found()
    assert found["validations"] == [{"time": 1037.0, "step": 2, "accuracy": 0.5}]
    assert (found["validation_s"], found["test_s"], found["correct"], found["total"]) == (5.0, 3.0, 9, 12)


def test_times_are_in_seconds_on_each_device() -> None:
    waited: list[bool] = []
    began = SimpleNamespace(elapsed_time=lambda ended: 2500.0)  # as CUDA says it, in milliseconds
    ended = SimpleNamespace(synchronize=lambda: waited.append(True))
    assert (length(began, ended), waited) == (2.5, [True])  # type: ignore[arg-type]
    assert length(1.5, 4.0) == 2.5
