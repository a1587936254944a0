"""Signals are only recorded; SLURM's report on a job decides whether it is requeued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_app.checkpointing import preemption
from lightning_app.checkpointing.preemption import (
    TIME_LIMIT,
    Deadline,
    StopRequest,
    StopSignals,
    exit_code,
    job_deadline,
    requeue,
)
from lightning_app.launchers.launch import Launch

BATCH = {"JobState": "RUNNING", "BatchFlag": "1", "Requeue": "1"}
ENVIRON = {"SLURM_JOB_ID": "17"}


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An scontrol that prints the file `job` and appends to the file `calls`; slurmctld is not there."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$1" = show ] && cat {tmp_path}/job || true\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def told(scontrol: Path, **job: str) -> None:
    """What scontrol says of the job."""
    (scontrol / "job").write_text(" ".join(f"{name}={value}" for name, value in job.items()))


def requeued(scontrol: Path) -> bool:
    """Whether scontrol was told to."""
    return "requeue 17" in (scontrol / "calls").read_text().splitlines()


@pytest.mark.parametrize("cause", [signal.SIGUSR1, signal.SIGTERM, TIME_LIMIT])
def test_a_batch_job_that_is_preempted_goes_back_into_the_queue(cause: int, scontrol: Path) -> None:
    told(scontrol, **BATCH)
    assert requeue(ENVIRON, cause) == "job 17 is back in the queue and resumes from there"
    assert requeued(scontrol)


@pytest.mark.parametrize(
    ("cause", "job", "said"),
    [
        (signal.SIGINT, BATCH, "interrupted or cancelled"),
        (signal.SIGTERM, BATCH | {"JobState": "CANCELLED"}, "interrupted or cancelled"),
        (signal.SIGUSR1, BATCH | {"BatchFlag": "0"}, "needs sbatch --requeue"),
        (signal.SIGUSR1, BATCH | {"Requeue": "0"}, "needs sbatch --requeue"),
        (signal.SIGUSR1, {}, "scontrol does not answer"),
    ],
)
def test_no_other_job_does(cause: int, job: dict[str, str], said: str, scontrol: Path) -> None:
    told(scontrol, **job)
    assert said in requeue(ENVIRON, cause)
    assert not requeued(scontrol)


def test_outside_of_slurm_nobody_is_asked(scontrol: Path) -> None:
    assert requeue({}, signal.SIGTERM) == "the same command resumes from there"
    assert not (scontrol / "calls").exists()


def test_the_time_limit_is_what_scontrol_says(scontrol: Path) -> None:
    told(scontrol, StartTime="2026-11-24T10:00:00", EndTime="2026-11-24T12:00:00")
    deadline = job_deadline(ENVIRON)
    assert deadline.end is not None
    assert deadline.margin == 60
    assert not deadline.near(deadline.end - 61)
    assert deadline.near(deadline.end - 59)


def test_the_time_limit_is_what_the_environment_says_where_it_does(scontrol: Path) -> None:
    deadline = job_deadline(ENVIRON | {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "1100"})
    assert (deadline.end, deadline.margin) == (1100, 10)
    assert not (scontrol / "calls").exists()


@pytest.mark.parametrize(("before", "counted"), [(30.0, 30.0), (3600.0, 50.0)])
def test_what_earlier_attempts_took_counts_up_to_half_the_limit(before: float, counted: float) -> None:
    limit = {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "1100"}
    assert job_deadline(ENVIRON | limit, before).longest == counted


@pytest.mark.parametrize("end", ["Unknown", ""])
def test_without_a_time_limit_no_time_is_near(end: str, scontrol: Path) -> None:
    told(scontrol, StartTime="2026-11-24T10:00:00", EndTime=end)
    assert not job_deadline(ENVIRON).near(1e12)


def test_the_longest_time_between_two_boundaries_is_left_too() -> None:
    deadline = Deadline(end=1000.0, limit=100.0)
    steps = (900, 905, 935, 950, 959)  # the longest of them took 30 seconds
    assert [deadline.near(now) for now in steps] == [False] * 5
    assert deadline.near(961)


@pytest.mark.parametrize(("longest", "left"), [(30.0, 30.0), (7200.0, 50.0)])
def test_that_of_earlier_attempts_is_left_from_the_start_up_to_half_the_limit(longest: float, left: float) -> None:
    deadline = Deadline(end=1000.0, limit=100.0, longest=longest)
    assert not deadline.near(1000 - left - 11)
    assert deadline.near(1000 - left - 9)


def test_signals_are_noted_and_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    signals = StopSignals()
    signals.listen(signal.SIGUSR1, signal.SIGTERM)
    assert signals.received == 0
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.received == signal.SIGTERM
    signals.restore()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_one_signal_is_given_back_while_the_others_are_listened_to() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    signals = StopSignals()
    signals.listen(*before)
    signals.restore(signal.SIGTERM, signal.SIGINT)  # the latter was not listened to
    assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.received == signal.SIGUSR1
    signals.restore()
    assert signal.getsignal(signal.SIGUSR1) is before[signal.SIGUSR1]


def test_in_a_thread_the_signals_stay_the_programs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(StopSignals().listen, signal.SIGTERM).result()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_a_second_interrupt_ends_the_process(first: str) -> None:
    before = "" if first == "SIGINT" else f"os.kill(os.getpid(), signal.{first})\n"
    program = (
        "import os, signal; from lightning_app.checkpointing.preemption import StopSignals\n"
        f"StopSignals().listen(signal.SIGINT, signal.SIGTERM)\n{before}"
        "for count in range(2): os.kill(os.getpid(), signal.SIGINT); print(count, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "0\n")


def test_a_second_interrupt_does_not_wait_for_the_interpreter() -> None:
    """It ends a process that is in C, where no Python handler runs: here for minutes."""
    program = (
        "import hashlib, os, signal, threading; from lightning_app.checkpointing.preemption import StopSignals\n"
        "StopSignals().listen(signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == -signal.SIGINT


@pytest.mark.parametrize(("rank", "code"), [(0, 75), (1, 0)])
def test_only_rank_0_ends_with_the_code(rank: int, code: int) -> None:
    assert exit_code(Launch("openmpi", 2, rank, rank, 2, 0, 1)) == code


def test_a_torchrun_that_would_start_the_ranks_anew_is_told_that_all_is_well() -> None:
    launch = Launch("torchrun", 2, 0, 0, 2, 0, 1)
    assert [exit_code(launch, {"TORCHELASTIC_MAX_RESTARTS": most}) for most in ("0", "3")] == [75, 0]


@pytest.mark.parametrize(("before", "noted"), [("SIG_DFL", 1), ("SIG_IGN", 0)])  # the tests may run under nohup
def test_a_terminal_that_closes_is_noted_unless_nohup_was_used_and_not_printed_to(before: str, noted: int) -> None:
    program = (
        "import os, signal; from lightning_app.checkpointing.preemption import StopSignals\n"
        f"signal.signal(signal.SIGHUP, signal.{before})\n"
        "signals = StopSignals(); signals.listen(signal.SIGHUP)\n"
        "print('ready', flush=True); input()\n"  # until the terminal is gone
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "if signals.received: print('saving', flush=True)\n"
        "os._exit(10 + signals.received)"
    )
    primary, terminal = os.openpty()
    keyboard, typed = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=keyboard, stdout=terminal, stderr=terminal, start_new_session=True
    ) as process:
        os.close(terminal)
        shown = b""
        while not shown.endswith(b"ready\r\n"):  # to the end of the line: the terminal passes it on in two pieces
            shown += os.read(primary, 100)
        os.close(primary)
        os.write(typed, b"\n")
        assert process.wait(60) == 10 + noted


def test_a_task_of_an_array_asks_and_is_asked_for_by_its_own_name(scontrol: Path) -> None:
    task = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    told(scontrol, **BATCH)
    assert requeue(task, signal.SIGUSR1) == "job 12_3 is back in the queue and resumes from there"
    job_deadline(task)
    assert (scontrol / "calls").read_text().splitlines() == ["show job -o 12_3", "requeue 12_3", "show job -o 12_3"]


def test_an_scontrol_that_does_not_answer_keeps_nobody_waiting(scontrol: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scontrol / "scontrol").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(preemption, "SCONTROL_TIMEOUT_S", 0.1)
    assert requeue(ENVIRON, signal.SIGUSR1).endswith("scontrol does not answer here")


LIMITED = {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "4600"}


@pytest.mark.parametrize(("watches", "end"), [(True, 4600.0), (False, None)])
def test_rank_0_alone_watches_the_time_limit_of_its_job(watches: bool, end: float | None) -> None:
    request = StopRequest(StopSignals(), LIMITED)
    request.begin(0, watches_the_clock=watches)
    assert request.deadline.end == end
    assert request.cause() == (TIME_LIMIT if watches else 0)  # it was over long ago


def test_how_long_an_attempt_s_longest_stretch_was_goes_into_the_next() -> None:
    first, second = (StopRequest(StopSignals(), LIMITED) for _ in range(2))
    first.deadline = Deadline(None, longest=7.5)
    second.load_state_dict(first.state_dict())
    assert (second.deadline.end, second.deadline.longest) == (None, 7.5)
    second.begin(0, watches_the_clock=True)
    assert second.deadline.longest == 7.5
