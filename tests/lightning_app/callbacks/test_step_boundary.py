"""What happens between two steps: which checkpoints exist, and what trouble does to a fit."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from equality import events

from datamodules.datamodule import ImageData
from lightning_app.__main__ import main
from lightning_app.callbacks.non_finite import LossWatch, SkipNonFinite
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.checkpointing import checkpoint_io, preemption
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import (
    ChecksummedIO,
    read_checkpoint,
    step_file,
    step_files,
    write_checkpoint,
)
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.preemption import StopRequest, StopSignals
from lightning_app.checkpointing.run_record import RunRecord
from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.cli.fit_run import FitRun
from lightning_app.results.finished_run import FinishedRun
from models.artifact import load_artifact
from models.classifier import ImageClassifier

pytestmark = pytest.mark.usefixtures("no_plots")
SLOW_FIT = Path(__file__).parents[2] / "cluster" / "slow_fit.py"
EVERY_STEP = ["--checkpoint.every_n_steps", "1", "--checkpoint.max_share", "1"]


def checkpoints(runs: Path) -> list[int]:
    """The steps that are kept, newest first."""
    return list(step_files(runs / "short/version_0/checkpoints"))


def some_boundary(folder: Path) -> StepBoundary:
    """One of a SLURM job of an hour, that has not begun."""
    checkpoints = Checkpoints(ChecksummedIO(), SavingOptions(), folder, RunRecord(""))
    stop = StopRequest(StopSignals(), {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "4600"})
    return StepBoundary(checkpoints, BestChoice(), stop, None, RunIdentity(()), {})


@pytest.fixture
def _ever_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first validation is the best."""
    scores = itertools.count(0, -1)
    monkeypatch.setattr(BestChoice, "_score", lambda best, metrics: float(next(scores)))


@pytest.mark.usefixtures("_ever_worse")
def test_the_newest_and_the_best_are_kept(short: list[str], tmp_path: Path) -> None:
    assert main(["fit", *short, *EVERY_STEP, "--checkpoint.keep", "3", "--runs_dir", str(tmp_path)]) == 0
    assert checkpoints(tmp_path) == [18, 17, 16, 6]
    best = tmp_path / "short/version_0/checkpoints/best.ckpt"
    assert read_checkpoint(best)["global_step"] == 6


@pytest.mark.usefixtures("_ever_worse")
def test_without_a_reason_only_the_best_and_the_last_are_written(short: list[str], tmp_path: Path) -> None:
    assert main(["fit", *short, "--runs_dir", str(tmp_path)]) == 0
    assert checkpoints(tmp_path) == [18, 6]


def test_of_each_new_best_only_the_last_is_written_and_once(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def noted(content: dict[str, Any], path: Path) -> None:
        written.append(content["global_step"])
        write_checkpoint(content, path)

    monkeypatch.setattr(checkpoint_io, "write_checkpoint", noted)
    for name, scores, steps in (("better", (0, 1, 2), [18]), ("worse at last", (0, 1, 0), [12, 18])):
        each = iter(scores)
        monkeypatch.setattr(BestChoice, "_score", lambda best, metrics, each=each: float(next(each)))
        assert main(["fit", *short, "--runs_dir", str(tmp_path / name)]) == 0
        assert written == steps
        written.clear()


@pytest.mark.usefixtures("_ever_worse")
def test_a_run_that_goes_on_from_anothers_checkpoint_has_its_best_too(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["fit", *short, *EVERY_STEP, "--runs_dir", str(tmp_path)]
    assert main(fit) == 0
    assert main([*fit, "--resume", str(step_file(tmp_path / "short/version_0/checkpoints", 17))]) == 0
    again = tmp_path / "short/version_1/checkpoints"
    assert list(step_files(again)) == [18, 6]
    assert read_checkpoint(again / "best.ckpt")["global_step"] == 6
    assert "Testing the last weights" not in capsys.readouterr().err


@pytest.mark.usefixtures("_ever_worse")
def test_what_a_validation_within_an_accumulated_step_measured_is_what_is_kept_and_exported(
    short: list[str], tmp_path: Path
) -> None:
    """The second of two batches of a step changes the weights; those of the first were validated."""
    options = ["--trainer.val_check_interval", "3", "--trainer.accumulate_grad_batches", "2"]
    assert main(["fit", *short, *options, *EVERY_STEP, "--trainer.max_epochs", "1", "--runs_dir", str(tmp_path)]) == 0
    run = tmp_path / "short/version_0"
    assert (run / "checkpoints/best.ckpt").readlink().name == "validated-00000001.ckpt"
    best = read_checkpoint(run / "checkpoints/best.ckpt")
    assert best["run"]["resumable"] is False
    assert read_checkpoint(step_file(run / "checkpoints", 3))["run"]["resumable"] is True
    exported = load_artifact(run / "model")[0].state_dict()
    validated = {name.removeprefix("network."): value for name, value in best["state_dict"].items()}
    assert [name for name, value in exported.items() if not torch.equal(value, validated[name])] == []
    assert json.loads((run / "metrics.json").read_text())["step"] == 1
    assert checkpoints(tmp_path) == [3, 2]


# ---- NaN and infinity


def test_a_loss_that_is_no_number_stops_with_its_images_and_no_bad_checkpoint(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explode = ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1e25", "--model.lr_scheduler", "null"]
    assert main(["fit", *short, *EVERY_STEP, *explode, "--runs_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    [line] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "is NaN or infinite after batch" in line
    assert "after batch 1 of epoch 0, made of digit " in line
    assert f"The last good checkpoint is {tmp_path}" in line
    for path in step_files(tmp_path / "short/version_0/checkpoints").values():
        weights = read_checkpoint(path)["current_model_state"].values()
        assert all(bool(each.isfinite().all()) for each in weights)


def test_the_best_checkpoint_that_waits_in_memory_is_written_before_the_run_fails(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training_step = ImageClassifier.training_step

    def step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        return training_step(module, batch, batch_idx) * (torch.nan if module.trainer.global_step == 9 else 1)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    assert main(["fit", *short, "--runs_dir", str(tmp_path)]) == 2
    assert checkpoints(tmp_path) == [6]
    assert "step-00000006.ckpt. A lower learning rate" in capsys.readouterr().err


def test_a_weight_that_is_no_number_names_the_batch_that_was_trained_on(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(module: ImageClassifier, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.trainer.global_step == 10:
            module.head.bias.data.fill_(torch.inf)

    monkeypatch.setattr(ImageClassifier, "on_train_batch_end", spoil)
    assert main(["fit", *short, *EVERY_STEP, "--runs_dir", str(tmp_path)]) == 2
    assert "is NaN or infinite after batch 3 of epoch 1, made of" in capsys.readouterr().err


def test_a_gpus_losses_are_looked_at_when_they_are_logged() -> None:
    watch = LossWatch()
    module: Any = SimpleNamespace(device=torch.device("cuda"))
    for number, loss in enumerate([1.0, float("nan"), 2.0, float("inf")]):
        trainer: Any = SimpleNamespace(
            global_step=number + 1, log_every_n_steps=4, fit_loop=SimpleNamespace(total_batch_idx=number)
        )
        assert watch.bad is None
        watch.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, None, number)
    assert watch.bad is not None
    assert watch.bad.number == 1


def test_a_skipped_batch_gives_no_gradient_and_changes_no_batch_statistics() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    module: Any = network
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1)
    skip = SkipNonFinite()
    for images, changes in ((torch.ones(5, 3) * torch.nan, False), (torch.rand(5, 3), True)):
        before = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
        optimizer.zero_grad()
        skip.on_train_batch_start(trainer, module, None, 0)
        network(images).square().sum().backward()
        skip.on_before_optimizer_step(trainer, module, optimizer)
        optimizer.step()
        after = network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items()) is not changes
        assert all(bool(value.isfinite().all()) for value in after.values())
    assert skip.skipped == 1


def test_a_fit_that_skips_ends_with_finite_weights(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = ImageClassifier._valid

    def spoiled(module: ImageClassifier, batch: Any, *network: Any) -> Any:
        logits, labels = valid(module, batch, *network)
        return logits * (torch.nan if module.training and module.trainer.global_step == 6 else 1), labels

    metrics = FinishedRun.metrics
    monkeypatch.setattr(ImageClassifier, "_valid", spoiled)
    monkeypatch.setattr(FinishedRun, "metrics", lambda run: metrics(run) | {"test/loss": torch.nan})
    assert main(["fit", *short, "--on_nan", "skip", "--runs_dir", str(tmp_path)]) == 0
    run = tmp_path / "short/version_0"
    network, _ = load_artifact(run / "model")
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    assert "train/skipped" in (run / "metrics.csv").read_text()
    card = json.loads((run / "model/model.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert [step for step, _ in card["curves"]["train/loss"]] == [3, 11, 15]
    assert "val/loss" in card["metrics"]
    assert "test/loss" not in card["metrics"]


# ---- being asked to stop


@pytest.mark.parametrize(("first_step", "requeued"), [(4, ["requeued for SIGUSR1"]), (5, [])])
def test_a_job_that_a_signal_stops_in_training_is_saved_and_then_requeued_if_it_took_a_step(
    first_step: int, requeued: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(
        preemption, "requeue", lambda environ, cause: happened.append(f"requeued for {signal.Signals(cause).name}")
    )
    boundary, network = some_boundary(tmp_path / "checkpoints"), torch.nn.Linear(1, 1)
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        global_step=5,
        accumulate_grad_batches=2,
        loggers=[],
        save_checkpoint=lambda path, **options: happened.append(f"saved {path.name}"),
        strategy=SimpleNamespace(barrier=happened.append),
    )
    boundary.stop.begin(first_step, watches_the_clock=False)
    boundary.stop.signals.listen(signal.SIGUSR1)
    try:
        boundary.on_train_batch_start(trainer, network, None, 10)
        os.kill(os.getpid(), signal.SIGUSR1)
        boundary.on_train_batch_start(trainer, network, None, 11)  # within an accumulated step
        assert happened == []
        with pytest.raises(preemption.Preempted, match="SIGUSR1"):
            boundary.on_train_batch_start(trainer, network, None, 12)
    finally:
        boundary.stop.signals.restore()
    assert happened == ["saved step-00000005.ckpt", *requeued, "stop"]


# ---- the final test


@pytest.mark.parametrize(("first_step", "requeued"), [(None, 0), (18, 0), (17, 1)])
def test_a_job_is_requeued_from_the_final_test_once_and_only_if_it_took_a_step(
    first_step: int | None, requeued: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(preemption, "requeue", lambda environ, cause: calls.append(cause))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    boundary = some_boundary(tmp_path)
    if first_step is not None:
        boundary.stop.begin(first_step, watches_the_clock=True)
    boundary.stop.signals.received = signal.SIGUSR1
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=18)
    for _ in range(3):
        boundary.on_test_batch_start(trainer)
    assert calls == [signal.SIGUSR1] * requeued


# ---- the disk


def test_a_checkpoint_that_could_not_be_written_is_tried_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io = ChecksummedIO()
    options = SavingOptions(every_n_steps=100, max_share=1.0)
    checkpoints = Checkpoints(io, options, tmp_path / "missing", RunRecord(""))
    trainer: Any = SimpleNamespace(
        global_step=100, is_global_zero=True, loggers=[], save_checkpoint=lambda *_, **__: None
    )
    checkpoints.start(0)
    io.error = OSError(errno.ENOSPC, "No space left on device")
    checkpoints.write(trainer, None)
    assert next(step for step in range(100, 120) if checkpoints.clock.due(step)) == 110


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_said_and_training_goes_on(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Room for one checkpoint of 6 MB and the rest of the run, not for a second one.
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", tmp_path])
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        assert main(["fit", *short, *EVERY_STEP, "--runs_dir", str(tmp_path)]) == 0
        assert checkpoints(tmp_path) == [1]
        assert read_checkpoint(step_files(tmp_path / "short/version_0/checkpoints")[1])["global_step"] == 1
        assert (tmp_path / "short/version_0/model/model.json").exists()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    said = capsys.readouterr().err
    assert "step-00000002.ckpt could not be written (No space left on device); the newest is " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("saving", [[], EVERY_STEP])
def test_a_run_whose_folder_vanishes_makes_it_again_and_ends(
    saving: list[str],
    short: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    training_step = ImageClassifier.training_step

    def step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        if module.trainer.global_step == 9:
            shutil.rmtree(tmp_path / "short")
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    assert main(["fit", *short, *saving, "--runs_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "had disappeared and was created again" in said
    assert "Traceback" not in said
    assert checkpoints(tmp_path)[0] == 18
    assert (tmp_path / "short/version_0/model/model.json").exists()
    logged = events(tmp_path / "short/version_0")
    assert [step for step, _ in logged["train/loss"]] == [11, 15]
    assert "test/acc" in logged


def test_events_that_cannot_be_written_cost_no_checkpoint(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training_step = ImageClassifier.training_step

    def step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        if module.trainer.global_step == 9:
            [file] = (tmp_path / "short/version_0").glob("events.out.*")
            file.unlink()
            file.symlink_to("/dev/full")
        if module.trainer.global_step == 14:
            os.kill(os.getpid(), signal.SIGUSR1)
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    with pytest.raises(SystemExit) as end:
        main(["fit", *short, "--runs_dir", str(tmp_path)])
    assert end.value.code == 75
    assert checkpoints(tmp_path)[0] == 15
    said = capsys.readouterr().err
    assert said.count("cannot be written (No space left on device); its events are kept for later") == 1
    assert "Traceback" not in said


def test_a_logger_that_fails_costs_no_checkpoint_and_no_other_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved: list[str] = []

    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error")

    kept = Checkpoints(ChecksummedIO(), SavingOptions(), tmp_path / "checkpoints", RunRecord(""))
    kept.io.best = (step_file(kept.folder, 3), {"global_step": 3})
    loggers = [SimpleNamespace(save=fail), SimpleNamespace(save=lambda: saved.append("other"))]
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=loggers)
    kept.write_best(trainer)
    assert saved == ["other"]
    assert list(step_files(kept.folder)) == [3]
    assert "the logs could not be saved (Input/output error)" in caplog.text


def test_logs_are_synced_before_a_checkpoint_and_the_model_before_the_end_is_noted(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert main(["fit", *short, "--runs_dir", str(tmp_path)]) == 0
    first = next(at for at, name in enumerate(synced) if name.startswith(".step-"))
    [events_file] = (tmp_path / "short/version_0").glob("events.out.*")
    assert {"metrics.csv", events_file.name, "version_0"} <= set(synced[:first])
    ended = max(at for at, name in enumerate(synced) if name.startswith(".run.json"))
    assert synced.index("model.json") < ended


# ---- signals outside of the steps


def at_once(number: int, frame: Any) -> None:
    """The signal's default action if nothing records it: the test fails."""
    raise AssertionError(f"signal {number} was not noted")


@pytest.fixture
def noted_or_fails() -> Iterator[None]:
    """SIGTERM fails the test unless it is recorded; it is given back at the end."""
    before = signal.signal(signal.SIGTERM, at_once)
    try:
        yield
        assert signal.getsignal(signal.SIGTERM) is at_once
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("noted_or_fails")
@pytest.mark.parametrize(("owner", "hook"), [(ImageClassifier, "on_fit_start"), (ImageData, "train_dataloader")])
def test_sigterm_before_the_first_step_is_noted(
    owner: Any, hook: str, short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Lightning sets up, and after it would have installed its own handler."""
    called = getattr(owner, hook)

    def asked(instance: Any) -> Any:
        if instance.trainer:
            os.kill(os.getpid(), signal.SIGTERM)
        return called(instance)

    monkeypatch.setattr(owner, hook, asked)
    with pytest.raises(SystemExit) as end:
        main(["fit", *short, "--runs_dir", str(tmp_path)])
    assert end.value.code == 75


@pytest.mark.usefixtures("noted_or_fails")
def test_sigterm_between_training_and_the_final_test_of_a_job_is_noted(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    causes: list[int] = []
    load_best = FitRun.load_best

    def asked(*args: Any) -> tuple[int, int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return load_best(*args)

    monkeypatch.setattr(FitRun, "load_best", asked)
    monkeypatch.setattr(preemption, "requeue", lambda environ, cause: causes.append(cause))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert main(["fit", *short, "--runs_dir", str(tmp_path)]) == 0
    assert causes == [signal.SIGTERM]


def test_the_longest_time_between_two_boundaries_is_kept_for_the_next_attempt(tmp_path: Path) -> None:
    boundaries = [some_boundary(tmp_path) for _ in range(2)]
    boundaries[0].stop.deadline.near(100.0)
    boundaries[0].stop.deadline.near(130.0)
    boundaries[1].load_state_dict(boundaries[0].state_dict())
    boundaries[1].stop.begin(0, watches_the_clock=True)
    assert boundaries[1].stop.deadline.longest == 30.0


# ---- Ctrl-C


def test_a_second_ctrl_c_ends_at_once(short: list[str], tmp_path: Path) -> None:
    options = [word.replace("configs/", str(Path(__file__).parents[3] / "configs") + "/") for word in short]
    command = [sys.executable, str(SLOW_FIT), "600", "0", "fit", *options, "--runs_dir", str(tmp_path)]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert "slow step\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == -signal.SIGINT
    finally:
        process.kill()
