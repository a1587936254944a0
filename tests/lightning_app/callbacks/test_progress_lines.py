"""A batch log is plain lines with the time, the position, the loss and what is left."""

from __future__ import annotations

import re
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from lightning_app.callbacks import progress_lines
from lightning_app.callbacks.progress_lines import PlainProgress

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


class Still(pl.LightningModule):
    """One weight that stays; its loss is 2, its accuracy a half."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("train/loss", self.weight.detach())
        return self.weight * 1

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/acc", torch.tensor(0.5))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What two epochs of three steps print when every step is due."""
    monkeypatch.setattr(progress_lines, "SECONDS_BETWEEN_LINES", 0.0)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        plugins=[LightningEnvironment()],  # else Lightning's search would start MPI
        callbacks=[PlainProgress()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = torch.utils.data.DataLoader(torch.zeros(3, 1))
    trainer.fit(Still(), data, data)
    return capsys.readouterr().out.splitlines()


def test_every_line_begins_with_the_time(lines: list[str]) -> None:
    assert [line for line in lines if not re.match(TIME, line)] == []


def test_a_step_says_where_it_is_what_the_loss_is_and_what_is_left(lines: list[str]) -> None:
    steps = [re.sub(r"ETA [\d:]+$", "ETA", re.sub(TIME, "", line)) for line in lines if "step" in line]
    assert steps == [
        f"epoch {epoch}/2  step {step}/3  train/loss 2.0000  ETA" for epoch in (1, 2) for step in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, "ETA 0:00:32"),  # 20 steps, 4 of them in 8 s
        ({"accumulate_grad_batches": 2}, "ETA 0:00:12"),
        ({"max_steps": 6}, "ETA 0:00:04"),
        ({"max_epochs": -1, "max_steps": -1}, "no end"),
    ],
)
def test_what_is_left_is_counted_in_steps(changed: dict[str, int], left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"global_step": 0, "max_epochs": 2, "max_steps": -1, "num_training_batches": 10}
    trainer = SimpleNamespace(**numbers | {"accumulate_grad_batches": 1} | changed)
    now = 100.0
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now)
    progress = PlainProgress()
    progress.on_train_start(trainer, None)  # type: ignore[arg-type]
    now, trainer.global_step = 108.0, 4
    assert progress._eta(trainer) == left  # type: ignore[arg-type]


def test_a_validation_says_what_it_found(lines: list[str]) -> None:
    found = [re.sub(TIME, "", line) for line in lines if "validation" in line]
    assert found == [f"validation after epoch {epoch}  val/acc 0.5000" for epoch in (1, 2)]


def test_only_a_progress_that_is_enabled_prints(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress()
    for switch, accuracy in ((lambda: None, 0.1), (progress.disable, 0.2), (progress.enable, 0.3)):
        switch()
        trainer = SimpleNamespace(callback_metrics={"test/acc": torch.tensor(accuracy), "val/acc": torch.tensor(0.9)})
        progress.on_test_end(trainer, None)  # type: ignore[arg-type]  # unused
    lines = [re.sub(TIME, "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["test  test/acc 0.1000", "test  test/acc 0.3000"]
