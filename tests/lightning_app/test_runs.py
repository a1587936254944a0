"""Which folder a fit goes on in, and from which checkpoint."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lightning_app.checkpoint import CheckpointError, step_file, write_checkpoint
from lightning_app.errors import UsageError
from lightning_app.runs import CHECKPOINTS, RECORD, RunsFolder, Start, identity

OPTIONS = {"model.backbone": "mobilenet_v2", "data.batch_size": 64}


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lightning_app"), "propagate", True)
    caplog.set_level(logging.INFO, "lightning_app")
    monkeypatch.setattr("lightning_app.runs.LOCK_TIMEOUT_S", 0.1)


def fits(checkpoint: dict[str, Any], path: Path) -> None:
    """Every checkpoint fits the model."""


def started(folder: Path, resume: str = "auto", options: dict[str, Any] = OPTIONS) -> tuple[RunsFolder, Start]:
    """A run that has just begun."""
    runs = RunsFolder(folder, options, fits)
    return runs, runs.start(resume)


def interrupted(folder: Path, *steps: int, options: dict[str, Any] = OPTIONS) -> Path:
    """A run that was killed after saving at these steps; returns its checkpoints' folder."""
    runs, start = started(folder, "never", options)
    runs.let_go()
    checkpoints = runs.version(start.version) / CHECKPOINTS
    checkpoints.mkdir()
    for step in steps:
        write_checkpoint({"global_step": step, "run": {"options": json.dumps(options)}}, step_file(checkpoints, step))
    return checkpoints


def test_the_first_run_begins_version_0(tmp_path: Path) -> None:
    assert started(tmp_path / "name")[1] == Start(0)


def test_an_interrupted_run_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    newest = step_file(interrupted(tmp_path, 10, 20), 20)
    assert started(tmp_path)[1] == Start(0, str(newest), 20, again=True)


def test_a_run_killed_before_its_first_checkpoint_begins_again_in_its_folder(tmp_path: Path) -> None:
    interrupted(tmp_path)
    assert started(tmp_path)[1] == Start(0, again=True)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    runs, start = started(tmp_path)
    runs.finish(start.version)
    assert started(tmp_path)[1] == Start(1)


def test_never_begins_anew(tmp_path: Path) -> None:
    interrupted(tmp_path, 10)
    assert started(tmp_path, "never")[1] == Start(1)


@pytest.mark.parametrize("resume", ["never", "of a path"])
def test_a_job_that_comes_back_from_the_queue_goes_on_with_its_own_run(resume: str, tmp_path: Path) -> None:
    if resume == "of a path":
        resume = str(step_file(interrupted(tmp_path, 5), 5))
    first = RunsFolder(tmp_path, OPTIONS, fits, job="17")
    begun = first.start(resume)
    first.let_go()
    again = RunsFolder(tmp_path, OPTIONS, fits, job="17", restarted=True)
    assert again.start(resume) == Start(begun.version, again=True)
    again.let_go()
    by_hand = RunsFolder(tmp_path, OPTIONS, fits, job="17")
    assert by_hand.start(resume).version == begun.version + 1


def test_a_run_with_other_options_is_another_run(tmp_path: Path) -> None:
    interrupted(tmp_path, 10, options=OPTIONS | {"data.batch_size": 32})
    assert started(tmp_path)[1] == Start(1)


def test_a_run_that_another_process_writes_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running, _ = started(tmp_path)
    assert started(tmp_path)[1] == Start(1)
    assert "is being written by another process" in caplog.text
    running.let_go()


def test_a_folder_that_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "version_4").mkdir()
    (tmp_path / "version_4" / RECORD).write_text("not JSON")
    assert started(tmp_path)[1] == Start(5)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "directory", "unreadable", "of other options"])
def test_a_damaged_newest_checkpoint_is_put_aside_for_the_one_before(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = interrupted(tmp_path, 10, 20)
    newest, before = step_file(checkpoints, 20), step_file(checkpoints, 10)
    content = newest.read_bytes()
    newest.unlink()
    if damage == "truncated":
        newest.write_bytes(content[:-100])
    elif damage == "flipped":
        newest.write_bytes(content[:200] + bytes([content[200] ^ 4]) + content[201:])
    elif damage == "empty":
        newest.touch()
    elif damage == "directory":
        newest.mkdir()
    elif damage == "unreadable":
        newest.symlink_to(newest)
    else:
        write_checkpoint({"global_step": 20, "run": {"options": '{"data.batch_size": 32}'}}, newest)
    assert started(tmp_path)[1] == Start(0, str(before), 10, again=True)
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(f"resume: {newest} ")
    assert not newest.is_symlink()
    assert not newest.exists()
    assert len(list(checkpoints.glob("step-00000020.ckpt.damaged-*"))) == 1


def test_a_checkpoint_of_another_model_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(tmp_path, 10)

    def never(checkpoint: dict[str, Any], path: Path) -> None:
        raise CheckpointError(f"{path} does not fit this backbone.")

    assert RunsFolder(tmp_path, OPTIONS, never).start("auto") == Start(1)
    assert "does not fit this backbone" in caplog.text


def test_where_no_checkpoint_is_whole_the_run_begins_in_a_folder_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step_file(interrupted(tmp_path, 10), 10).write_bytes(b"")
    assert started(tmp_path)[1] == Start(1)
    assert f"no checkpoint in {tmp_path / 'version_0'} is whole" in caplog.text


def test_a_path_goes_on_in_a_folder_of_its_own(tmp_path: Path) -> None:
    oldest = step_file(interrupted(tmp_path, 10, 20), 10)
    assert started(tmp_path, str(oldest))[1] == Start(1, str(oldest), 10)


def test_a_path_of_a_run_with_other_options_names_them(tmp_path: Path) -> None:
    path = step_file(interrupted(tmp_path, 10, options=OPTIONS | {"data.batch_size": 32}), 10)
    with pytest.raises(UsageError, match=r"other options: data.batch_size is 32 there and 64 here"):
        started(tmp_path, str(path))


def test_a_path_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.ckpt cannot be read"):
        started(tmp_path, str(tmp_path / "nothing.ckpt"))


def test_a_place_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="set --runs_dir to a place for runs"):
        started(tmp_path / "file" / "name")


def test_leftovers_of_a_killed_save_are_cleared_away(tmp_path: Path) -> None:
    checkpoints = interrupted(tmp_path, 10)
    (checkpoints / ".step-00000020.ckpt.4711.tmp").write_bytes(b"half")
    started(tmp_path)
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000010.ckpt"]


def test_machine_and_logging_are_not_part_of_what_a_run_is() -> None:
    config = {
        "name": "a",
        "data": {"cache_dir": "/tmp", "batch_size": 64},
        "trainer": {"devices": 2, "strategy": "ddp", "max_epochs": 3, "logger": {"class_path": "X"}},
        "checkpoint": {"keep": 3},
    }
    assert identity(config) == {"data.batch_size": 64, "trainer.max_epochs": 3}
