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
from equality import different_states, last_checkpoint

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


def made(device: torch.device, pixels: torch.dtype = torch.float32) -> batches.ImageBatch:
    """A training batch."""
    data = NoiseData(64, 16, 48)
    maker = BatchMaker(data.packed, data.indices, 0, AUGMENT, device, pixels=pixels)
    return maker.make(Shard("train", 0, 0, 16, 16, 16), 48)


@pytest.mark.parametrize("pixels", [torch.float32, torch.bfloat16, torch.float16])
def test_a_batch_is_that_of_the_cpu(device: torch.device, pixels: torch.dtype) -> None:
    expected, found = made(CPU), made(device, pixels)
    assert found.images.device.type == device.type
    if device.type == "cuda":
        assert found.images.dtype == pixels
        assert found.images.is_contiguous(memory_format=torch.channels_last)
    # Colours are summed in float32; a pixel below 1 is rounded by half of its type's epsilon.
    tolerance = 2e-3 + torch.finfo(pixels).eps / 2
    torch.testing.assert_close(found.images.cpu().float(), expected.images, rtol=0, atol=tolerance)
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
    batch = 16 if torch.cuda.is_available() else 4  # a dry run is to be short
    trainer.fit(model, datamodule=NoiseData(20 * batch, batch, 32))
    return callback.found


def test_the_losses_of_twenty_steps_are_those_of_the_cpu(strategy: str) -> None:
    expected = losses("cpu")
    assert len(expected) == 20
    np.testing.assert_allclose(losses(strategy), expected, rtol=1e-3)


@pytest.fixture(scope="module")
def finished(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished fit."""
    runs = tmp_path_factory.mktemp("runs")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    assert fit(options, runs) == 0
    return runs / "gpu/version_0"


@pytest.fixture(scope="module")
def model(finished: Path) -> Path:
    """The artifact of that fit."""
    return finished / "model"


def test_the_peak_of_memory_is_printed(cuda: torch.device, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peak = torch.cuda.max_memory_allocated()
    with capsys.disabled():
        print(f"peak memory of a fit of digits at 32 pixels: {peak / 2**20:.0f} MiB")
    assert peak > 0


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
    """Between two log steps, torch raises if anything waits for the GPU."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        between = batch_idx % trainer.log_every_n_steps not in (0, trainer.log_every_n_steps - 1)
        between = between and not trainer.is_last_batch  # what follows is the validation
        self.steps += between
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("error" if between else "default")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("default")
        assert self.steps == 8, self.steps


@pytest.mark.usefixtures("device")
def test_nobody_waits_for_the_gpu_between_two_logs(options: list[str], tmp_path: Path) -> None:
    callback = ["--trainer.callbacks+", f"{__name__}.NoSynchronisation"]
    steps = ["--trainer.limit_train_batches", "12", "--trainer.log_every_n_steps", "8", "--trainer.max_epochs", "1"]
    colours = ["--data.augment.hue", "0.1", "--data.augment.erasing", "0.2", "--data.augment.trivial_augment", "true"]
    assert fit(options, tmp_path, *steps, *colours, *callback) == 0


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


def stopped_and_resumed(options: list[str], runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped at its seventh step, and resumed."""
    StoppedAt(monkeypatch, 7)
    assert fit(options, runs) == 75
    assert fit(options, runs) == 0
    return runs / "gpu/version_0"


def test_a_resumed_run_ends_with_the_same_bits_by_deterministic_algorithms(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Warnings: grid_sample's backward, which has no such algorithm, is not needed.
    exact = [*options, "--trainer.deterministic", "warn", "--trainer.benchmark", "false"]
    assert fit(exact, tmp_path / "whole") == 0
    resumed = stopped_and_resumed(exact, tmp_path / "stopped", monkeypatch)
    assert different_states(resumed, tmp_path / "whole/gpu/version_0") == []


def test_what_differs_in_a_resumed_run_without_deterministic_algorithms_is_printed(
    cuda: torch.device,
    options: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = different_states(stopped_and_resumed(options, tmp_path, monkeypatch), finished)
    with capsys.disabled():
        print(f"without deterministic algorithms, {len(found)} values of the last checkpoint differ: {found[:5]} ...")


def test_float16_trains_with_a_scaler(cuda: torch.device, options: list[str], tmp_path: Path) -> None:
    assert fit(options, tmp_path, "--trainer.precision", "16-mixed") == 0
    assert last_checkpoint(tmp_path / "gpu/version_0")["MixedPrecision"]["scale"] > 0


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


def test_compare_writes_a_row_for_the_cpu_and_one_for_the_gpu(
    cuda: torch.device, options: list[str], tmp_path: Path
) -> None:
    compared = [word for word in options if word not in ("--trainer.strategy", "gpu")]
    arguments = ["--modes", "cpu", "gpu", "--steps", "30", "--rounds", "1", "--to", str(tmp_path)]
    assert main(["compare", *compared, *arguments]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "| cpu" in report
    assert "| gpu" in report
