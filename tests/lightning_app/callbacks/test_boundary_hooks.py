"""What each hook of the step boundary does and says, without a fit."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_app.callbacks import step_boundary
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import ChecksummedIO
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.preemption import StopRequest, StopSignals
from lightning_app.checkpointing.run_record import RunRecord
from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.errors import UsageError

FACTS = {"data": "digest of now", "classes": ["cat", "dog"]}


@pytest.fixture
def boundary(tmp_path: Path) -> StepBoundary:
    """Of a run that has not begun."""
    record = RunRecord("")
    record.write(tmp_path)
    checkpoints = Checkpoints(ChecksummedIO(), SavingOptions(), tmp_path / "checkpoints", record)
    stop = StopRequest(StopSignals(), {})
    return StepBoundary(checkpoints, BestChoice(), stop, None, RunIdentity((("data.batch_size", "8"),)), FACTS)


@pytest.fixture
def trainer(boundary: StepBoundary) -> Any:
    """After 3 epochs of 5 batches and 2 of the fourth, whose images have the names of their batch."""

    def save(path: Path, **options: Any) -> None:
        path.parent.mkdir(exist_ok=True)
        path.touch()

    epoch_loop = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(completed=17)))
    return SimpleNamespace(
        is_global_zero=True,
        sanity_checking=False,
        world_size=1,
        global_step=9,
        ckpt_path=None,
        precision="32-true",
        num_training_batches=5,
        accumulate_grad_batches=2,
        callback_metrics={},
        loggers=[],
        save_checkpoint=save,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        datamodule=SimpleNamespace(batch_names=lambda epoch, batch: [f"{epoch}-{batch}.png"]),
        fit_loop=SimpleNamespace(epoch_loop=epoch_loop, _should_accumulate=lambda: False),
    )


def fit_loop() -> dict[str, Any]:
    """Lightning's counters when batch 3 of an epoch starts."""
    counts = {"ready": 4, "started": 4, "processed": 3, "completed": 3}
    return {
        "epoch_loop.batch_progress": {"total": dict(counts), "current": dict(counts), "is_last_batch": False},
        "epoch_progress": {"total": dict(counts)},
    }


@pytest.mark.parametrize(("resumable", "started"), [(True, 3), (False, 4)])
def test_a_checkpoint_knows_its_run_and_only_one_to_resume_from_is_as_if_the_batch_had_not_started(
    resumable: bool, started: int, boundary: StepBoundary, trainer: Any
) -> None:
    checkpoint: dict[str, Any] = {"loops": {"fit_loop": fit_loop()}}
    boundary.checkpoints.resumable = resumable
    boundary.on_save_checkpoint(trainer, None, checkpoint)  # type: ignore[arg-type]  # unused
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert batches["total"] == {"ready": started, "started": started, "processed": 3, "completed": 3}
    run = checkpoint["run"]
    assert (run["options"], run["resumable"]) == ({"data.batch_size": "8"}, resumable)
    assert FACTS.items() <= run["facts"].items()
    assert run["facts"]["world_size"] == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_resumed_run_says_what_has_changed_once_for_all_ranks(
    rank: int, boundary: StepBoundary, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.is_global_zero = rank == 0
    facts = {"data": "digest of then", "classes": ["cat", "dog"], "world_size": 4}
    checkpoint = {"run": {"options": {"data.batch_size": "8"}, "facts": facts}}
    boundary.on_load_checkpoint(trainer, None, checkpoint)  # type: ignore[arg-type]  # unused
    said = [line.partition(" now; ")[0] for line in caplog.messages]
    changes = ["data was digest of then and is digest of now", "world_size was 4 and is 1"]
    assert said == [f"resume: {change}" for change in changes if rank == 0]


@pytest.mark.parametrize(("options", "trained"), [({"data.batch_size": "8"}, True), ({"data.batch_size": "4"}, False)])
def test_training_that_has_ended_does_not_go_on_unless_the_run_was_made_longer(
    options: dict[str, str], trained: bool, boundary: StepBoundary, trainer: Any
) -> None:
    boundary.on_load_checkpoint(trainer, None, {"run": {"options": options, "facts": {}}})  # type: ignore[arg-type]
    boundary.load_state_dict(boundary.state_dict() | {"trained": True})
    trainer.should_stop = False
    boundary.on_fit_start(trainer, None)  # type: ignore[arg-type]  # unused
    assert trainer.should_stop is trained


@pytest.mark.parametrize(
    ("within", "file", "kept"), [(False, "step-00000009.ckpt", []), (True, "validated-00000009.ckpt", [True])]
)
def test_a_best_validation_is_kept_at_the_next_boundary_or_at_once_if_that_would_be_too_late(
    within: bool, file: str, kept: list[bool], boundary: StepBoundary, trainer: Any
) -> None:
    trainer.fit_loop._should_accumulate = lambda: within
    trainer.callback_metrics = {"val/acc": torch.tensor(0.5)}
    boundary.on_validation_end(trainer, None)  # type: ignore[arg-type]  # unused
    assert boundary.best.file == file
    assert [path.name == file for path in boundary.checkpoints.folder.glob("*")] == kept
    boundary.on_train_batch_start(trainer, torch.nn.Linear(1, 1), None, 10)  # type: ignore[arg-type]
    assert [path.name for path in boundary.checkpoints.folder.glob("*")] == [file]


@pytest.mark.parametrize("first_step", [9, 8])
def test_an_attempt_is_requeued_from_the_final_test_if_it_took_a_step_since_it_started(
    first_step: int, boundary: StepBoundary, trainer: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level("INFO")
    trainer.global_step = first_step
    boundary.on_train_start(trainer, None)  # type: ignore[arg-type]  # unused
    boundary.stop.signals.restore()
    trainer.global_step = 9
    boundary.stop.signals.received = signal.SIGUSR1
    boundary.on_test_batch_start(trainer)
    boundary.on_test_batch_start(trainer)
    assert [line.partition(";")[0] for line in caplog.messages][:1] == ["asked to stop during the final test"]
    assert "the next attempt repeats it" in caplog.messages[0]
    then = "the same command resumes from there" if first_step == 8 else "this attempt completed no step"
    assert [line.partition(",")[0] for line in caplog.messages[1:]] == [then]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_end_of_training_is_saved_and_says_what_saving_cost(
    rank: int, boundary: StepBoundary, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trainer.is_global_zero = rank == 0
    boundary.on_train_end(trainer, torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    assert boundary.checkpoints.newest.endswith("checkpoints/step-00000009.ckpt")
    assert [line.partition(",")[0] for line in caplog.messages] == ["checkpoints: saved 1 times"] * (rank == 0)
    assert boundary.state_dict()["trained"] is True


def test_a_stopped_run_says_at_which_step_why_and_from_where_it_resumes(
    boundary: StepBoundary, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trainer.strategy.barrier = lambda name: None
    boundary.stop.signals.received = signal.SIGTERM
    with pytest.raises(step_boundary.Preempted, match="SIGTERM"):
        boundary.on_train_batch_start(trainer, torch.nn.Linear(1, 1), None, 10)  # type: ignore[arg-type]
    newest = boundary.checkpoints.folder / "step-00000009.ckpt"
    assert caplog.messages[0] == f"stopped at step 9 (SIGTERM); the newest checkpoint is {newest}"


def bad_weight(boundary: StepBoundary, trainer: Any) -> None:
    """A boundary at which a weight is NaN, and no loss was."""
    network = torch.nn.Linear(1, 1)
    network.bias.data.fill_(torch.nan)
    boundary.on_train_end(trainer, network)  # type: ignore[arg-type]


def test_a_weight_that_is_nan_is_blamed_on_the_last_batch_and_nothing_is_saved(
    boundary: StepBoundary, trainer: Any
) -> None:
    with pytest.raises(
        UsageError, match=r"after batch 1 of epoch 3, made of 3-1\.png\. .* checkpoint is none\."
    ) as error:
        bad_weight(boundary, trainer)
    assert "--on_nan" not in str(error.value)
    assert not boundary.checkpoints.folder.exists()


def test_where_losses_are_watched_an_error_points_to_skipping(boundary: StepBoundary, trainer: Any) -> None:
    boundary.watch = step_boundary.LossWatch()
    with pytest.raises(UsageError, match=r"after batch 1 of epoch 3, .*--on_nan skip leaves such batches out"):
        bad_weight(boundary, trainer)
