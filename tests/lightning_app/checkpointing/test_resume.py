"""A run that was stopped at any step and resumes ends with the bits of one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from equality import curves, different_states, events, last_checkpoint
from PIL import Image

from lightning_app.__main__ import main
from models.classifier import ImageClassifier

pytestmark = pytest.mark.usefixtures("no_plots")
Program = Callable[..., subprocess.CompletedProcess[str]]
STEPS = 18  # 3 epochs of 6 steps; the loss is logged at every fourth
VARIANTS = {
    "plain": [],
    "dropout": ["--model.backbone", "mobilenet_v2", "--model.dropout", "0.2", "--model.head_lr_factor", "5"],
    "no average": ["--ema_decay", "0"],
    "accumulated": ["--trainer.accumulate_grad_batches", "2"],
    "validated twice an epoch": ["--trainer.val_check_interval", "3"],
    "counted in steps": ["--trainer.max_steps", "15"],
    "schedule of epochs": [
        "--model.lr_scheduler",
        "torch.optim.lr_scheduler.StepLR",
        "--model.lr_scheduler.step_size=1",
    ],
    # The loss falls, so with the wrong mode every epoch after the first lowers the rate.
    "schedule by a metric": [
        "--model.lr_scheduler",
        "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "--model.lr_scheduler.mode=max",
        "--model.lr_scheduler.patience=0",
    ],
    "sizes": ["--data.image_size", "[32, 40, 48]", "--data.eval_size", "32"],
    "no validation": ["--data.val_fraction", "0"],
}
# Where it is stopped: in the first epoch, at its end, in the last epoch; beside the steps that are logged and not.
SOME_STEPS = {
    "plain": (6, 8),
    "dropout": (7,),
    "accumulated": (4,),
    "validated twice an epoch": (3,),
    "counted in steps": (6,),
    "schedule by a metric": (8,),
}


class StoppedAt:
    """Sends a signal to this process while it takes a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]) -> None:
        self.left = list(steps)
        training_step = ImageClassifier.training_step

        def step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
            if self.left and module.trainer.global_step + 1 == self.left[0]:
                self.left.pop(0)
                os.kill(os.getpid(), signal.SIGUSR1)
            return training_step(module, batch, batch_idx)

        monkeypatch.setattr(ImageClassifier, "training_step", step)


def fit(options: list[str], runs: Path) -> int:
    """The exit code of a fit."""
    try:
        return main(["fit", *options, "--runs_dir", str(runs)])
    except SystemExit as end:
        return int(str(end.code))


@pytest.fixture(scope="session")
def whole(short: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of each variant that were never stopped, made when first asked for."""

    class Runs(dict):
        def __missing__(self, variant: str) -> Path:
            runs = tmp_path_factory.mktemp("whole")
            assert fit([*short, *VARIANTS[variant]], runs) == 0
            self[variant] = runs / "short/version_0"
            return self[variant]

    return Runs()


def assert_same(resumed: Path, whole: Path) -> None:
    """Every state, every row and every point."""
    assert different_states(resumed, whole) == []
    assert curves(resumed) == curves(whole)
    assert events(resumed) == events(whole)


@pytest.mark.parametrize(("variant", "step"), [(name, step) for name, steps in SOME_STEPS.items() for step in steps])
def test_a_run_stopped_at_a_step_ends_as_if_it_had_not_been(
    variant: str, step: int, short: list[str], whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_stopped_and_resumed(variant, (step,), short, whole[variant], tmp_path, monkeypatch)


def test_a_run_stopped_at_every_other_step_ends_as_if_it_had_not_been(
    short: list[str], whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (2, 4, 6, 8, 10, 12)
    assert_stopped_and_resumed("plain", steps, short, whole["plain"], tmp_path, monkeypatch)


def test_a_finished_run_is_made_longer_and_ends_as_if_it_had_been_that_long(short: list[str], tmp_path: Path) -> None:
    options = [*short, "--model.lr_scheduler", "null"]
    epochs = "--trainer.max_epochs"
    assert fit([*options, epochs, "1"], tmp_path / "first") == 0
    finished = tmp_path / "first/short/version_0"
    assert fit([*options, epochs, "2", "--resume", str(finished)], tmp_path / "longer") == 0
    assert fit([*options, epochs, "2"], tmp_path / "whole") == 0
    assert different_states(tmp_path / "longer/short/version_0", tmp_path / "whole/short/version_0") == []


def test_a_run_goes_on_with_other_ranks_and_says_what_is_not_exact(
    short: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoppedAt(monkeypatch, (8,))
    assert fit(short, tmp_path) == 75
    ranks = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    process = program("fit", *short, *ranks, "--runs_dir", str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("resuming from step 8 of an unfinished attempt") == 1
    assert process.stderr.count("resume: world_size was 1 and is 2 now; the batches and their order stay the same") == 1
    assert "dropout draws different masks, so results will differ in more than their last bits" in process.stderr
    assert [path.name for path in (tmp_path / "short").iterdir()] == ["version_0"]
    assert last_checkpoint(tmp_path / "short/version_0")["global_step"] == STEPS


def test_a_run_does_not_go_on_with_other_data(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(16):
        split, label = ("train", "test")[number // 12], ("cat", "dog")[number % 2]
        picture(tmp_path / "photos" / split / label / f"{number}.png", number)
    data = ["--data.dataset", "image_folder", "--data.root", str(tmp_path / "photos"), "--data.batch_size", "4"]
    own_cache = ["--data.cache_dir", str(tmp_path / "packed"), "--data.val_fraction", "0"]
    options = [*short, *data, *own_cache, "--trainer.limit_train_batches", "3", "--trainer.limit_test_batches", "1.0"]
    StoppedAt(monkeypatch, (2,))
    assert fit(options, tmp_path) == 75
    changed = picture(tmp_path / "photos/train/cat/0.png", 99)
    assert fit(options, tmp_path) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step-00000002.ckpt was trained on other data" in said
    assert "start a new run with --resume never" in said
    picture(changed, 0)
    another_cache = ["--data.cache_dir", str(tmp_path / "packed again")]
    assert fit([*options, *another_cache], tmp_path) == 0
    assert "resuming from step 2" in capsys.readouterr().err


def picture(path: Path, number: int) -> Path:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (number, 7 * number % 256, 100)).save(path)
    return path


def test_a_job_that_comes_back_after_its_run_came_to_its_end_ends_at_once(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"ID": "17", "START_TIME": "0", "END_TIME": "1e12"}.items():
        monkeypatch.setenv(f"SLURM_JOB_{name}", value)
    assert fit(short, tmp_path) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "short").rglob("*")}
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fit(short, tmp_path) == 0
    assert "finished in an earlier attempt of this job" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "short").rglob("*")} == before


@pytest.mark.soak
@pytest.mark.parametrize("step", range(1, STEPS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_does_not_matter_at_which_step(
    variant: str, step: int, short: list[str], whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_stopped_and_resumed(variant, (step,), short, whole[variant], tmp_path, monkeypatch)


def assert_stopped_and_resumed(
    variant: str, steps: tuple[int, ...], short: list[str], whole: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop at each of these steps, resume each time with the same command, and compare."""
    stopped = StoppedAt(monkeypatch, steps)
    codes = [fit([*short, *VARIANTS[variant]], runs) for _ in range(len(steps) + 1)]
    assert codes == [75] * (len(steps) - len(stopped.left)) + [0] * (len(stopped.left) + 1)
    assert_same(runs / "short/version_0", whole)
