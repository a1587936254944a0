"""The averaged weights equal those of a plain loop, through validation, resume and the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_app.callbacks.ema import EMA

STEPS_PER_EPOCH = 6


class Points(Dataset):
    """Six points in float64, in order."""

    def __len__(self) -> int:
        return STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([1.0 + index, -2.0 * index], dtype=torch.float64)


class Line(pl.LightningModule):
    """Two weights that every step moves; remembers them after each step and during each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return ((batch * self.weights).sum(dim=1) - 1).square().mean()

    def on_train_batch_end(self, *args: Any) -> None:
        self.trained.append(self.weights.detach().clone())

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(self.weights.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trained(epochs: int, decay: float, folder: Path, ckpt_path: Path | None = None) -> Line:
    """Train with averaging, validating on one point and writing folder/epoch=<n>.ckpt after every epoch."""
    model = Line()
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[EMA(decay), ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
    )
    trainer.fit(model, DataLoader(Points()), DataLoader(Points()), ckpt_path=ckpt_path)
    return model


def averages(weights: list[Tensor], decay: float) -> list[Tensor]:
    """The average after each step, by the formula: its decay grows with the step."""
    found = weights[:1]
    for step, after in enumerate(weights[1:], start=2):
        kept = min(decay, (1 + step) / (10 + step))
        found.append(kept * found[-1] + (1 - kept) * after)
    return found


@pytest.mark.parametrize("decay", [0.999, 0.4])  # 0.4 is reached at step 5
def test_the_average_is_that_of_a_plain_loop(decay: float, tmp_path: Path) -> None:
    model = trained(2, decay, tmp_path)
    expected = averages(model.trained, decay)
    assert len(model.trained) == 2 * STEPS_PER_EPOCH
    assert not torch.equal(model.trained[-1], expected[-1])
    torch.testing.assert_close(model.weights.detach(), expected[-1], rtol=1e-12, atol=0)


def test_the_average_is_what_gets_validated_and_training_goes_on_without_it(tmp_path: Path) -> None:
    model = trained(2, 0.999, tmp_path)
    expected = averages(model.trained, 0.999)
    torch.testing.assert_close(model.validated, expected[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH], rtol=1e-12, atol=0)
    torch.testing.assert_close(model.trained, trained_without_average(2), rtol=1e-12, atol=0)


def trained_without_average(epochs: int) -> list[Tensor]:
    """The weights after each step of plain SGD."""
    model = Line()
    optimizer = model.configure_optimizers()
    weights = []
    for _ in range(epochs):
        for batch in DataLoader(Points()):
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
            weights.append(model.weights.detach().clone())
    return weights


def test_a_checkpoint_holds_the_average_and_a_resumed_run_carries_it_on(tmp_path: Path) -> None:
    whole = trained(3, 0.999, tmp_path)
    first = tmp_path / "epoch=0.ckpt"
    average = averages(whole.trained, 0.999)[STEPS_PER_EPOCH - 1]
    saved = torch.load(first, weights_only=True)["state_dict"]["weights"]
    torch.testing.assert_close(saved, average, rtol=1e-12, atol=0)

    resumed = trained(3, 0.999, tmp_path / "resumed", first)
    torch.testing.assert_close(resumed.trained, whole.trained[STEPS_PER_EPOCH:], rtol=1e-12, atol=0)
    torch.testing.assert_close(resumed.weights, whole.weights, rtol=1e-12, atol=0)
