"""Between two log steps nothing waits for the device: neither our code nor Lightning.

This needs no GPU. Tensors on torch's `meta` device have no values, so asking for one fails; and on a CPU one can count
how often a value is requested.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_app.__main__ import main
from lightning_app.bench.random_data import CLASSES, NoiseData
from lightning_app.callbacks.batch_statistics import AverageBatchStatistics
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import LossWatch, SkipNonFinite
from lightning_app.callbacks.progress_bar import Bar
from lightning_app.callbacks.progress_lines import PlainProgress
from lightning_app.callbacks.rank_state import RankState
from lightning_app.callbacks.reseed import Reseed
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.callbacks.throughput import Throughput
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import ChecksummedIO
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.preemption import StopRequest, StopSignals
from lightning_app.checkpointing.run_record import RunRecord
from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.trainer.trainer import Trainer
from models.classifier import ImageClassifier

STEPS, LOG_EVERY = 12, 8
# What a GPU has to be waited for: a value, or a shape that depends on values.
WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "_unique2", "unique_dim")


class MetaDevice(SingleDeviceStrategy):
    """One process on the device whose tensors have no values."""

    def __init__(self) -> None:
        super().__init__(torch.device("meta"))

    def setup_environment(self) -> None:
        """Without what the accelerator, a CPU's, would say about the device."""

    def teardown(self) -> None:
        """Without bringing the model back to the CPU."""


class Enough(Exception):
    """Training has come far enough."""


class EndAfter(pl.Callback):
    """Ends training between two steps, before anything of the epoch's end."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.steps:
            raise Enough


class Waits(TorchDispatchMode):
    """Records each operator that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().removeprefix("aten::")
        if name.split(".")[0] in WAITS:
            self.found.append(f"{name} in {asked_in()}")
        return function(*args, **(kwargs or {}))


def asked_in() -> list[str]:
    """The functions, innermost last, that asked; torch's own left out."""
    frames = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-9:-2]]


class CountBetweenLogs(pl.Callback):
    """Counts over whole steps, with all that lies between them, from after one log to before the next."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.steps = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == LOG_EVERY + 1:  # of the step before, the callbacks after ours have shown what was logged
            self.waits.__enter__()
        if batch_idx == STEPS - 1:
            self.waits.__exit__(None, None, None)
        self.steps += LOG_EVERY < batch_idx < STEPS - 1


def train(callbacks: list[pl.Callback], folder: Path, fused: bool, **options: Any) -> None:
    """Train a small network with our callbacks and a logger, on noise."""
    io = ChecksummedIO()
    checkpoints = Checkpoints(io, SavingOptions(), folder / "checkpoints", RunRecord(""))
    signals = StopSignals()
    watch = next(callback for callback in callbacks if isinstance(callback, (LossWatch, SkipNonFinite)))
    only_looks = watch if isinstance(watch, LossWatch) else None
    stop = StopRequest(signals, {})
    boundary = StepBoundary(checkpoints, BestChoice(), stop, only_looks, RunIdentity(()), {})
    ours = [Reseed(0), EMA(), RankState(), AverageBatchStatistics(), Throughput(), LearningRateMonitor("step")]
    trainer = Trainer(
        max_epochs=1,
        log_every_n_steps=LOG_EVERY,
        logger=CSVLogger(folder),
        callbacks=[boundary, *callbacks, *ours],
        plugins=[io],
        enable_checkpointing=False,
        enable_model_summary=False,
        precision="32-true",
        **options,
    )
    model = ImageClassifier(
        CLASSES, "mobilenet_v2", "none", optimizer=lambda params: torch.optim.AdamW(params, lr=1e-3, fused=fused)
    )
    try:
        trainer.fit(model, datamodule=NoiseData(2 * STEPS, 2, 32))
    finally:
        signals.restore()


@pytest.mark.slow
@pytest.mark.parametrize("watch", [LossWatch, SkipNonFinite])
@pytest.mark.filterwarnings("ignore")
def test_a_whole_step_of_the_program_can_be_taken_on_a_device_that_cannot_be_read(
    watch: type[pl.Callback], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.batches.fits", lambda images, device: True)
    for loop in ("fit_loop", "evaluation_loop"):  # they count the batches of all ranks on the device, before training
        monkeypatch.setattr(f"lightning.pytorch.loops.{loop}.has_len_all_ranks", lambda *ranks: True)
    with pytest.raises(Enough):
        train(
            [watch(), PlainProgress(), EndAfter(LOG_EVERY - 1)],
            tmp_path,
            fused=False,  # which this device does not have
            strategy=MetaDevice(),
            accelerator="cpu",
        )


@pytest.mark.parametrize("progress", [PlainProgress, Bar])
@pytest.mark.parametrize("watch", [LossWatch, SkipNonFinite])
def test_no_value_is_asked_for_between_two_logs(
    watch: type[pl.Callback], progress: type[pl.Callback], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossWatch, "at_once", staticmethod(lambda device: False))  # as on a GPU
    count = CountBetweenLogs()
    train([count, watch(), progress()], tmp_path, fused=True, strategy="cpu")
    assert count.steps == STEPS - LOG_EVERY - 2
    assert count.waits.found == []


def test_lightnings_own_broadcast_in_each_step_of_several_ranks_is_left_out(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop calls there before each step does nothing in a fit of this program."""
    broadcasts: list[Any] = []
    steps: list[int] = []
    monkeypatch.setattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor", broadcasts.append)
    advance = _TrainingEpochLoop.advance

    def as_one_of_several(loop: _TrainingEpochLoop, data_fetcher: Any) -> None:
        loop._broadcast_sigterm_tensor()
        steps.append(loop.global_step)
        advance(loop, data_fetcher)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", as_one_of_several)
    assert main(["fit", *short, "--trainer.max_steps", "2", "--runs_dir", str(tmp_path)]) == 0
    assert (steps, broadcasts) == ([0, 1], [])
