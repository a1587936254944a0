"""Which folder a fit resumes in, and from which checkpoint."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_app.checkpointing.checkpoint_io import CheckpointError, step_file, write_checkpoint
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.named_checkpoint import CHECKPOINTS
from lightning_app.checkpointing.resume_point import NEEDED
from lightning_app.checkpointing.run_directory import LOCK, RunsFolder, Start
from lightning_app.checkpointing.run_record import RECORD
from lightning_app.errors import UsageError

OPTIONS = RunIdentity.of({"model.backbone": "mobilenet_v2", "data.batch_size": 64})
SMALLER = RunIdentity.of({"model.backbone": "mobilenet_v2", "data.batch_size": 32})


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lightning_app"), "propagate", True)
    caplog.set_level(logging.INFO, "lightning_app")
    monkeypatch.setattr("lightning_app.checkpointing.run_directory.LOCK_TIMEOUT_S", 0.1)


def fits(checkpoint: dict[str, Any], path: Path) -> None:
    """Every checkpoint fits the model."""


def started(folder: Path, resume: str = "auto", options: RunIdentity = OPTIONS) -> tuple[RunsFolder, Start]:
    """A run that has just started."""
    runs = RunsFolder(folder, options, fits)
    return runs, runs.start(resume)


def interrupted(folder: Path, *steps: int, options: RunIdentity = OPTIONS) -> Path:
    """A run that was killed after saving at these steps; returns its checkpoints' folder."""
    runs, start = started(folder, "never", options)
    runs.let_go()
    return saved(runs.version(start.version) / CHECKPOINTS, *steps, options=options)


def saved(checkpoints: Path, *steps: int, options: RunIdentity = OPTIONS) -> Path:
    """A folder with checkpoints of these steps."""
    checkpoints.mkdir()
    for step in steps:
        write_checkpoint(parts_of(step, options), step_file(checkpoints, step))
    return checkpoints


def parts_of(step: int, options: RunIdentity, **others: Any) -> dict[str, Any]:
    """What a checkpoint has, as far as it is looked at here."""
    return {
        **{part: [] if part == "lr_schedulers" else {} for part in NEEDED},
        "global_step": step,
        "run": {"options": options.dump()},
    } | others


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder, without locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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
    origin = Start(0, again=True)
    if resume == "of a path":
        resume = str(step_file(interrupted(tmp_path, 5), 5))
        origin = Start(1, resume, 5, again=True)
    first = RunsFolder(tmp_path, OPTIONS, fits, job="17")
    first.start(resume)
    first.let_go()
    again = RunsFolder(tmp_path, OPTIONS, fits, job="17", restarted=True)
    assert again.start(resume) == origin
    again.let_go()
    by_hand = RunsFolder(tmp_path, OPTIONS, fits, job="17")
    assert by_hand.start(resume).version == origin.version + 1


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_job_that_comes_back_after_its_run_came_to_its_end_has_nothing_to_do(resume: str, tmp_path: Path) -> None:
    first = RunsFolder(tmp_path, OPTIONS, fits, job="17")
    first.finish(first.start(resume).version)
    before = sorted(tmp_path.rglob("*"))
    again = RunsFolder(tmp_path, OPTIONS, fits, job="17", restarted=True)
    assert again.start(resume) == Start(0, finished=True)
    assert sorted(tmp_path.rglob("*")) == before
    for other in (
        RunsFolder(tmp_path, OPTIONS, fits, job="17"),
        RunsFolder(tmp_path, OPTIONS, fits, job="18", restarted=True),
        RunsFolder(tmp_path, SMALLER, fits, job="17", restarted=True),
        RunsFolder(tmp_path, OPTIONS, fits, restarted=True),
    ):
        assert not other.start("never").finished
        other.let_go()


def test_a_run_begun_from_a_path_and_killed_before_its_first_checkpoint_goes_on_from_there(tmp_path: Path) -> None:
    best = step_file(interrupted(tmp_path, 5, 8), 5).with_name("best.ckpt")
    best.symlink_to("step-00000008.ckpt")
    begun = started(tmp_path, str(best))[0]
    begun.let_go()
    best.unlink()
    best.symlink_to("step-00000005.ckpt")
    assert started(tmp_path)[1] == Start(1, str(step_file(best.parent, 8)), 8, again=True)


@pytest.mark.parametrize(("own", "step"), [((3,), 8), ((3, 8), 8), ((3, 9), 9)])
def test_the_best_that_was_taken_over_is_no_step_of_a_run_begun_from_a_path(
    own: tuple[int, ...], step: int, tmp_path: Path
) -> None:
    origin = step_file(interrupted(tmp_path, 8), 8)
    runs, start = started(tmp_path, str(origin))
    runs.let_go()
    saved(runs.version(start.version) / CHECKPOINTS, *own)
    expected = step_file(runs.version(1) / CHECKPOINTS, step) if step in own else origin
    assert started(tmp_path)[1] == Start(1, str(expected), step, again=True)


def test_a_run_whose_origin_is_gone_does_not_begin_anew(tmp_path: Path) -> None:
    origin = step_file(interrupted(tmp_path, 8), 8)
    started(tmp_path, str(origin))[0].let_go()
    origin.unlink()
    with pytest.raises(UsageError, match=rf"{origin} cannot be read .*start a new run with --resume never"):
        started(tmp_path)


def test_a_run_with_other_options_is_another_run(tmp_path: Path) -> None:
    interrupted(tmp_path, 10, options=SMALLER)
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


def refuse(checkpoint: dict[str, Any], path: Path) -> None:
    """No checkpoint fits the model."""
    raise CheckpointError(f"{path} does not fit this backbone.")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "directory", "unreadable", "of other options"])
def test_a_newest_checkpoint_that_cannot_be_used_is_put_aside_for_the_one_before(
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
        write_checkpoint(parts_of(20, SMALLER), newest)
    assert started(tmp_path)[1] == Start(0, str(before), 10, again=True)
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(f"resume: {newest} ")
    assert not newest.is_symlink()
    assert not newest.exists()
    kind = "unused" if damage in ("unreadable", "of other options") else "damaged"
    assert len(list(checkpoints.glob(f"step-00000020.ckpt.{kind}-*"))) == 1


@pytest.mark.parametrize("trouble", ["unreadable", "another version", "another model", "after a damaged one"])
def test_where_what_is_whole_cannot_be_used_here_nothing_begins_and_nothing_changes(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = interrupted(tmp_path, 10, 20)
    if trouble == "after a damaged one":
        step_file(checkpoints, 20).write_bytes(b"")
    before = tree(tmp_path)
    with monkeypatch.context() as here_and_now:
        if trouble == "unreadable":
            here_and_now.setattr(Path, "read_bytes", stale)
        elif trouble == "another version":
            here_and_now.setattr(torch, "load", unknown)
        runs = RunsFolder(tmp_path, OPTIONS, refuse)
        with pytest.raises(UsageError, match=r"step-000000.0.ckpt .*start a new run with --resume never"):
            runs.start("auto")
        runs.let_go()
    assert tree(tmp_path) == before
    assert started(tmp_path)[1].step == (10 if trouble == "after a damaged one" else 20)


@pytest.mark.parametrize("folder", ["", f"version_0/{CHECKPOINTS}"])
def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, 10)
    listed = Path.iterdir  # of Path: Python 3.10's keeps os.listdir as it found it

    def forbidden(path: Path) -> Iterator[Path]:
        if path == tmp_path / folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(UsageError, match=r"cannot write runs to .* \(Permission denied\)"):
        started(tmp_path)


def stale(path: Path) -> bytes:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))


def unknown(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a format of another version")


def test_where_no_checkpoint_is_whole_the_run_begins_in_a_folder_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step_file(interrupted(tmp_path, 10), 10).write_bytes(b"")
    assert started(tmp_path)[1] == Start(1)
    assert f"no checkpoint in {tmp_path / 'version_0'} is intact" in caplog.text


def test_a_folder_that_was_given_up_is_never_taken_again(tmp_path: Path) -> None:
    step_file(interrupted(tmp_path, 10), 10).write_bytes(b"")
    again, start = started(tmp_path)
    again.finish(start.version)
    assert started(tmp_path)[1] == Start(2)


def test_a_path_goes_on_in_a_folder_of_its_own(tmp_path: Path) -> None:
    oldest = step_file(interrupted(tmp_path, 10, 20), 10)
    assert started(tmp_path, str(oldest))[1] == Start(1, str(oldest), 10)


def test_a_path_of_a_run_with_other_options_names_them(tmp_path: Path) -> None:
    path = step_file(interrupted(tmp_path, 10, options=SMALLER), 10)
    with pytest.raises(UsageError, match=r"other options: data.batch_size is 32 there and 64 here"):
        started(tmp_path, str(path))


def test_a_path_of_a_checkpoint_saved_within_a_step_names_what_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "epoch=1-step=20.ckpt"
    write_checkpoint(parts_of(20, OPTIONS, run={"options": OPTIONS.dump(), "resumable": False}), path)
    with pytest.raises(
        UsageError, match=r"saved within a step, by another callback .* Resume from one of the run's step-\*\.ckpt"
    ):
        started(tmp_path / "run", str(path))


@pytest.mark.parametrize("lost", ["loops", "optimizer_states", "lr_schedulers", "callbacks", "state_dict"])
def test_a_checkpoint_of_weights_alone_is_not_gone_on_from(lost: str, tmp_path: Path) -> None:
    path = step_file(interrupted(tmp_path), 20)
    write_checkpoint({name: part for name, part in parts_of(20, OPTIONS).items() if name not in (lost, "run")}, path)
    with pytest.raises(UsageError, match=rf"{path} lacks {lost}, so no run can resume .* --model.weights {path}"):
        started(tmp_path, str(path))


def test_a_path_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.ckpt cannot be read"):
        started(tmp_path, str(tmp_path / "nothing.ckpt"))


def test_a_place_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="set --runs_dir to a writable folder"):
        started(tmp_path / "file" / "name")


def test_leftovers_of_killed_processes_are_cleared_away_and_those_of_one_alive_are_not(tmp_path: Path) -> None:
    checkpoints = interrupted(tmp_path, 10)
    run = checkpoints.parent
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    before = sorted(run.rglob("*"))
    (run / f".model.{ended.pid}.tmp/examples").mkdir(parents=True)
    (run / f".model.{ended.pid}.tmp/examples/00.png").touch()
    (run / f".model.{ended.pid}.old").mkdir()
    (run / f".metrics.json.{os.getpid()}.tmp").touch()  # in a container, all processes may have one number
    (checkpoints / f".step-00000020.ckpt.{ended.pid}.tmp").write_bytes(b"half")
    alive = run / f".model.{os.getppid()}.tmp"
    alive.mkdir()
    started(tmp_path)
    assert sorted(run.rglob("*")) == sorted([*before, alive])


def test_an_unfinished_run_of_other_options_is_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(tmp_path, 10, options=SMALLER)
    runs, start = started(tmp_path)
    runs.let_go()
    assert start == Start(1)
    line = f"{tmp_path / 'version_0'} is unfinished, but has other options: data.batch_size is 32 there and 64 here"
    assert line in caplog.text
    caplog.clear()
    started(tmp_path, "never")[0].let_go()
    assert "other options" not in caplog.text


def test_a_newer_run_that_has_finished_does_not_hide_the_unfinished_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(tmp_path, 10, options=SMALLER)
    runs, start = started(tmp_path, "never", RunIdentity.of({"data.batch_size": 16}))
    runs.finish(start.version)
    runs.let_go()
    started(tmp_path)[0].let_go()
    assert f"{tmp_path / 'version_0'} is unfinished, but has other options" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_run_whose_record_is_lost_goes_on_by_what_its_checkpoint_says(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = step_file(interrupted(tmp_path, 10, 20), 20)
    record = tmp_path / "version_0" / RECORD
    record.unlink()
    if damage == "damaged":
        record.write_text('{"config": ')
    assert started(tmp_path)[1] == Start(0, str(newest), 20, again=True)
    assert f"{record} is missing or damaged; rebuilt from a checkpoint beside it" in caplog.text


def test_a_finished_run_whose_record_is_lost_is_left_alone(tmp_path: Path) -> None:
    interrupted(tmp_path, 10)
    (tmp_path / "version_0" / RECORD).write_text("")
    (tmp_path / "version_0/model").mkdir()
    (tmp_path / "version_0/model/model.json").touch()
    assert started(tmp_path)[1] == Start(1)


def of_length(epochs: int, **schedule: Any) -> RunIdentity:
    """The options of a run with a schedule."""
    named = {f"model.lr_scheduler.{name}": value for name, value in schedule.items()}
    return RunIdentity.of({"data.batch_size": 64, "trainer.max_epochs": epochs, **named})


SHORT, LONG = of_length(1), of_length(3)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (None, "the learning rate stays as it is"),
        ("torch.optim.lr_scheduler.StepLR", "StepLR continues from where it was"),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", "beyond its T_max the rate rises again"),
    ],
)
def test_a_run_is_made_longer_by_naming_its_folder(
    kind: str | None, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = {} if kind is None else {"class_path": kind}
    newest = step_file(interrupted(tmp_path, 10, 20, options=of_length(1, **schedule)), 20)
    assert started(tmp_path, str(tmp_path / "version_0"), of_length(3, **schedule))[1] == Start(1, str(newest), 20)
    assert "trainer.max_epochs is 1 there and 3 here; " in caplog.text
    assert said in caplog.text


@pytest.mark.parametrize(
    ("state", "init_args"),
    [
        ({"total_steps": 20, "last_epoch": 20}, {}),  # OneCycle's, and OneCycleLR's
        ({}, {"schedules": [{"class_path": "CosineAnnealingLR", "init_args": {"T_max": "auto"}}]}),
        ({}, {"schedules": [{"class_path": "LinearLR"}, {"class_path": "StepLR"}], "milestones": [0.1]}),
    ],
)
def test_a_run_with_a_schedule_over_its_whole_length_is_not_made_longer(
    state: dict[str, Any], init_args: dict[str, Any], tmp_path: Path
) -> None:
    of_run = {f"init_args.{name}": value for name, value in init_args.items()}
    short, long = of_length(1, **of_run), of_length(3, **of_run)
    path = step_file(interrupted(tmp_path, options=short), 20)
    write_checkpoint(parts_of(20, short, lr_schedulers=[state]), path)
    with pytest.raises(UsageError, match="needs a schedule without an end"):
        started(tmp_path, str(path), long)
    assert started(tmp_path, str(path), short)[1].step == 20


def test_by_itself_no_run_goes_on_with_one_of_another_length(tmp_path: Path) -> None:
    interrupted(tmp_path, 10, options=SHORT)
    assert started(tmp_path, options=LONG)[1] == Start(1)


def test_a_folder_without_checkpoints_cannot_be_gone_on_from(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with pytest.raises(UsageError, match=r"version_0 has no last checkpoint in checkpoints/"):
        started(tmp_path, str(tmp_path / "version_0"))


@pytest.mark.parametrize("named", ["last", "best"])
def test_a_run_goes_on_from_the_newest_run_of_its_name_by_lightnings_words(named: str, tmp_path: Path) -> None:
    interrupted(tmp_path, 40)
    newer = interrupted(tmp_path, 20, 30)
    (newer / "best.ckpt").symlink_to("step-00000020.ckpt")
    expected = (step_file(newer, 30), 30) if named == "last" else (newer / "best.ckpt", 20)
    for version in (2, 3):  # killed before its first checkpoint, the same command starts from there again
        runs, start = started(tmp_path, named)
        assert start == Start(version, str(expected[0]), expected[1])
        runs.let_go()
