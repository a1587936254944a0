"""A run is a process tree that does not outlive us, and says why it failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lightning_app.compare.trials import trial
from lightning_app.compare.trials.commands import Launchers, on_cores
from lightning_app.compare.trials.modes import Mode
from lightning_app.compare.trials.trial import Trial, last_error, run_trial, start

ALONE = Launchers(None, open_mpi=False, srun=None, cores=len(os.sched_getaffinity(0)))
MACHINE = {"host": "here", "git": None}
LEAVE = "import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps({'rank': 0}))"


def python(code: str, *args: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, args)]


def test_what_its_processes_leave_is_in_the_record(tmp_path: Path) -> None:
    trial = Trial(Mode("cpu", 1), "steps", 0, [python(LEAVE, tmp_path / "rank-0.json")], tmp_path)
    record = run_trial(trial, ALONE, MACHINE)
    assert (record["failed"], record["ranks"]) == (None, [{"rank": 0}])
    assert 0 < record["seconds"] < time.time() - record["began"] + 1
    assert json.loads(json.dumps(record)) == record


def test_a_process_that_fails_is_quoted_and_the_others_are_ended(tmp_path: Path) -> None:
    waits, fails = python("import time; time.sleep(600)"), python("import sys; sys.exit('error: no such data')")
    began = time.monotonic()
    record = run_trial(Trial(Mode("serial", 2), "steps", 0, [waits, fails], tmp_path), ALONE, MACHINE)
    assert record["failed"] == "exit code 1: no such data"
    assert time.monotonic() - began < 60


def test_numbers_that_are_missing_are_a_failure(tmp_path: Path) -> None:
    trial = Trial(Mode("serial", 2), "steps", 0, [python(LEAVE, tmp_path / "rank-0.json"), python("")], tmp_path)
    assert run_trial(trial, ALONE, MACHINE)["failed"].startswith("1 of 2 processes wrote their results")


def test_a_signal_while_a_process_is_being_started_leaves_it_not_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start_and_be_told_to_end(*args: Any) -> subprocess.Popen[bytes]:
        started.append(start(*args))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(number)

    monkeypatch.setattr(trial, "start", start_and_be_told_to_end)
    before = signal.signal(signal.SIGTERM, leave)
    try:
        waits = Trial(Mode("cpu", 1), "steps", 0, [python("import time; time.sleep(600)")], tmp_path)
        with pytest.raises(SystemExit):
            run_trial(waits, ALONE, MACHINE)
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
        running = started[0].poll() is None
        started[0].kill()
    assert not running


def test_what_an_attempt_left_that_failed_is_gone(tmp_path: Path) -> None:
    ready = tmp_path / "trial/0/ready"
    ready.parent.mkdir(parents=True)
    ready.touch()
    trial = Trial(Mode("cpu", 1), "steps", 0, [python(LEAVE, tmp_path / "trial/rank-0.json")], tmp_path / "trial")
    assert run_trial(trial, ALONE, MACHINE)["failed"] is None
    assert not ready.exists()


def test_a_process_gets_its_cores_and_ours_come_back() -> None:
    ours = os.sched_getaffinity(0)
    with on_cores(len(ours) - 1, 1):
        assert os.sched_getaffinity(0) == {max(ours)}
    with on_cores(len(ours), 1):
        assert os.sched_getaffinity(0) == {min(ours)}
    assert os.sched_getaffinity(0) == ours


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("error: no data\nleaving\n", "no data"),
        ("Traceback:\n  File 'x'\ntorch.OutOfMemoryError: CUDA\nleaving\n", "torch.OutOfMemoryError: CUDA"),
        ("an error: none of ours\nValueError: 3\nerror: 4\n", "4"),
        ("an error: none of ours\nkilled\n", "killed"),
        ("", "no message"),
    ],
)
def test_the_error_of_a_process_is_its_last_or_else_its_last_line(said: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "output-0.txt").write_text(said)
    assert last_error(tmp_path / "output-0.txt") == error
