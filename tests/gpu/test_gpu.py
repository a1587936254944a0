"""What only a GPU can show. `make gpu` runs these; elsewhere each is skipped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from equality import different_states

from datamodules import batches
from datamodules.augmentation import Augment
from datamodules.batches import BatchMaker
from datamodules.sampling import Shard
from lightning_app.__main__ import main
from lightning_app.bench.random_data import NoiseData
from lightning_app.callbacks.non_finite import LossWatch
from models.artifact import load_artifact
from models.classifier import ImageClassifier

pytestmark = pytest.mark.gpu
REPOSITORY = Path(__file__).parents[2]
AUGMENT = Augment(crop_scale=0.5, rotation=15, pad_crop=2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
CPU = torch.device("cpu")


def fit(options: list[str], runs: Path, *more: str) -> int:
    """The exit code of a fit."""
    try:
        return main(["fit", *options, "--runs_dir", str(runs), *more])
    except SystemExit as end:
        return int(str(end.code))


def made(device: torch.device) -> batches.ImageBatch:
    """A training batch."""
    data = NoiseData(64, 16, 48)
    maker = BatchMaker(data.packed, data.indices, 0, AUGMENT, device)
    return maker.make(Shard("train", 0, 0, 16, 16, 16), 48)


def test_a_batch_is_that_of_the_cpu(device: torch.device) -> None:
    expected, found = made(CPU), made(device)
    assert found.images.device.type == device.type
    torch.testing.assert_close(
        found.images.cpu(), expected.images, rtol=0, atol=2e-3
    )  # colours are added up in float32
    assert torch.equal(found.labels.cpu(), expected.labels)


def test_a_data_set_that_does_not_fit_gives_the_same_batches(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = made(device)
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0)
    assert torch.equal(made(device).images, resident.images)


class Losses(pl.Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(float(outputs["loss"]))


def losses(strategy: str) -> list[float]:
    """Of 20 steps in float32, without TF32."""
    from lightning_app.trainer.trainer import Trainer

    callback = Losses()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(strategy=strategy, precision="32-true", max_steps=20, callbacks=[callback], **quiet)  # type: ignore[arg-type]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    model = ImageClassifier(10, "resnet18", "none", optimizer=lambda params: torch.optim.SGD(params, lr=1e-3))
    trainer.fit(model, datamodule=NoiseData(320, 16, 32))
    return callback.found


def test_the_losses_of_twenty_steps_are_those_of_the_cpu(strategy: str) -> None:
    expected = losses("cpu")
    assert len(expected) == 20
    np.testing.assert_allclose(losses(strategy), expected, rtol=1e-3)


@pytest.fixture(scope="module")
def model(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a finished fit."""
    runs = tmp_path_factory.mktemp("runs")
    assert fit(options, runs) == 0
    return runs / "gpu/version_0/model"


def test_evaluation_counts_each_image_once(model: Path) -> None:
    _, card = load_artifact(model)
    assert sum(map(sum, card["confusion"]["test"])) == 360


def test_the_artifact_gives_the_same_answers_on_a_cpu(model: Path, device: torch.device) -> None:
    network, card = load_artifact(model)
    pixels = torch.rand(8, 3, card["input_size"], card["input_size"])
    with torch.inference_mode():
        expected = network(pixels)
        found = network.to(device)(pixels.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


class NoSynchronisation(pl.Callback):
    """Between two logs, torch raises where anybody waits for the GPU."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        between = batch_idx % trainer.log_every_n_steps not in (0, trainer.log_every_n_steps - 1)
        self.steps += between
        torch.cuda.set_sync_debug_mode("error" if between else "default")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        assert self.steps >= 8


def test_nobody_waits_for_the_gpu_between_two_logs(cuda: torch.device, options: list[str], tmp_path: Path) -> None:
    callback = ["--trainer.callbacks+", f"{__name__}.NoSynchronisation"]
    steps = ["--trainer.limit_train_batches", "20", "--trainer.log_every_n_steps", "8", "--trainer.max_epochs", "1"]
    assert fit(options, tmp_path, *steps, *callback) == 0


class StoppedAt:
    """Sends SIGUSR1 to this process in a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        training_step = ImageClassifier.training_step
        left = [step]

        def stopped(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
            if left and module.trainer.global_step + 1 == left[0]:
                left.pop()
                os.kill(os.getpid(), signal.SIGUSR1)
            return training_step(module, batch, batch_idx)

        monkeypatch.setattr(ImageClassifier, "training_step", stopped)


def test_a_resumed_run_ends_with_the_same_bits_by_deterministic_algorithms(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    exact = ["--trainer.deterministic", "warn", "--trainer.benchmark", "false"]  # grid_sample's backward is not needed
    assert fit(options, tmp_path / "whole", *exact) == 0
    StoppedAt(monkeypatch, 7)
    assert fit(options, tmp_path / "stopped", *exact) == 75
    assert fit(options, tmp_path / "stopped", *exact) == 0
    assert different_states(tmp_path / "stopped/gpu/version_0", tmp_path / "whole/gpu/version_0") == []


def test_float16_trains_with_a_scaler(cuda: torch.device, options: list[str], tmp_path: Path) -> None:
    assert fit(options, tmp_path, "--trainer.precision", "16-mixed") == 0


def test_a_loss_that_is_no_number_is_found(device: torch.device) -> None:
    watch = LossWatch()
    watch._unseen = [(0, torch.tensor(1.0, device=device)), (1, torch.tensor(float("nan"), device=device))]
    watch.look()
    assert watch.bad is not None
    assert watch.bad.number == 1


@pytest.mark.parametrize(
    "launcher",
    [["mpirun", "--allow-run-as-root", "-np", "1"], ["torchrun", "--nproc-per-node", "1"]],
    ids=lambda it: it[0],
)
def test_one_rank_of_a_launcher_trains_over_nccl(
    launcher: list[str], cuda: torch.device, options: list[str], tmp_path: Path
) -> None:
    if shutil.which(launcher[0]) is None:
        pytest.skip(f"there is no {launcher[0]}")
    python = [sys.executable, "-m", "lightning_app"] if launcher[0] == "mpirun" else ["-m", "lightning_app"]
    command = [*launcher, *python, "fit", *options, "--trainer.strategy", "ddp", "--runs_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_peak_of_memory_is_printed(cuda: torch.device, options: list[str], tmp_path: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    assert fit(options, tmp_path) == 0
    peak = torch.cuda.max_memory_allocated()
    print(f"peak memory of a fit of digits at 32 pixels: {peak / 2**20:.0f} MiB")
    assert peak > 0


def test_compare_writes_a_row_for_the_cpu_and_one_for_the_gpu(
    cuda: torch.device, options: list[str], tmp_path: Path
) -> None:
    compared = [word for word in options if word not in ("--trainer.strategy", "gpu")]
    arguments = ["--modes", "cpu", "gpu", "--steps", "30", "--rounds", "1", "--to", str(tmp_path)]
    assert main(["compare", *compared, *arguments]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "| cpu" in report
    assert "| gpu" in report
