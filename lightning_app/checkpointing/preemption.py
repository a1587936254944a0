"""Requests to stop: by a signal, or by SLURM's time limit.

A signal handler only sets a flag; all ranks together act on it between two steps (callbacks/step_boundary.py).
"""

from __future__ import annotations

import logging
import os
import re
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from lightning_app.errors import Stopped
from lightning_app.launchers.launch import Launch
from lightning_app.launchers.specs.slurm import allocation

log = logging.getLogger(__name__)

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command will do the rest
TIME_LIMIT = 256  # a reason to stop, besides the numbers of signals
# Of the job's time limit; the longest step and validation so far come on top.
MARGIN_S, MARGIN_SHARE = 60.0, 0.1
SCONTROL_TIMEOUT_S = 30


class Preempted(Stopped):
    """Training was asked to stop, and stopped after saving; raised on every rank."""


class StopSignals:
    """Records SIGUSR1 (SLURM's --signal), SIGTERM, SIGHUP and SIGINT; a second SIGINT ends the process at once.

    That works as soon as the first is recorded, which Python does only between two bytecode instructions. A SIGHUP that
    is ignored, as under nohup, stays ignored.

    Attributes:
        received: the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def listen(self, *signals: int) -> None:
        """Take over these signals; in a thread, where Python forbids it, the program keeps them."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signals:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    def restore(self, *signals: int) -> None:
        """Give back these signals, or all."""
        for number in signals or list(self._before):
            if number in self._before:
                signal.signal(number, self._before.pop(number))

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:  # the kernel's own doing needs no turn of the interpreter, which may wait in C
            signal.signal(number, signal.SIG_DFL)
        if number == signal.SIGHUP:
            leave_terminal()


def leave_terminal() -> None:
    """Stop printing to the terminal: it has been closed, and each print would be an error."""
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


class Deadline:
    """SLURM's time limit.

    Args:
        end: when the job will be killed, as time.time(); None if never.
        limit: the job's total time, in seconds.
        longest: longest seconds between two boundaries in earlier attempts, for the first validation of this one.
    """

    def __init__(self, end: float | None, limit: float = 0.0, longest: float = 0.0) -> None:
        self.end = end
        self.margin = min(MARGIN_S, MARGIN_SHARE * limit)
        # An attempt that was suspended for hours should not leave later ones without time.
        self.longest = longest if end is None else min(longest, limit / 2)
        self._last: float | None = None

    def near(self, now: float) -> bool:
        """Whether the next step, or a validation, might not finish in time; call it at each boundary."""
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now
        return self.end is not None and now + self.longest + self.margin >= self.end


class StopRequest:
    """Whether this process has been asked to stop, and what then happens to its SLURM job.

    Args:
        signals: already taken over, or to be.
        environ: of the process.
    """

    def __init__(self, signals: StopSignals, environ: Mapping[str, str]) -> None:
        self.signals, self.environ = signals, environ
        self.deadline = Deadline(None)
        self._first_step: int | None = None

    def begin(self, step: int, watches_the_clock: bool) -> None:
        """Training starts, after this many steps; only rank 0 watches the job's time limit."""
        self._first_step = step
        if watches_the_clock:
            self.deadline = job_deadline(self.environ, self.deadline.longest)

    def cause(self) -> int:
        """Why to stop: a signal's number or TIME_LIMIT; 0 to continue. Call it at each boundary."""
        near = self.deadline.near(time.time())
        return self.signals.received or (TIME_LIMIT if near else 0)

    def requeue(self, step: int, cause: int) -> None:
        """Requeue the job, unless it would repeat forever."""
        if self._first_step is not None and step > self._first_step:
            log.info(requeue(self.environ, cause))
        else:
            log.warning("this attempt completed no step, and the next would not either: the job is not requeued")

    def end_of_training(self) -> None:
        """Give the signals back. But a SLURM job that is told to save should not end now; another attempt tests."""
        if "SLURM_JOB_ID" in self.environ:
            self.signals.restore(signal.SIGINT)
        else:
            self.signals.restore()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"longest": self.deadline.longest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint of an earlier attempt."""
        self.deadline = Deadline(None, longest=state["longest"])


def name_of(cause: int) -> str:
    """A reason to stop, for people."""
    return "the job's time limit is near" if cause == TIME_LIMIT else signal.Signals(cause).name


def job_deadline(environ: Mapping[str, str], longest: float = 0.0) -> Deadline:
    """The time limit of this process's SLURM job; `longest` as in Deadline."""
    started, ended = environ.get("SLURM_JOB_START_TIME"), environ.get("SLURM_JOB_END_TIME")  # of SLURM 23.02 and newer
    if started and ended:
        return Deadline(float(ended), float(ended) - float(started), longest)
    job = show_job(environ)
    start, end = (timestamp(job.get(name, "")) for name in ("StartTime", "EndTime"))
    return Deadline(end, end - start, longest) if start and end else Deadline(None, longest=longest)


def timestamp(text: str) -> float | None:
    """SLURM's local time as time.time(); None for `Unknown`."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def show_job(environ: Mapping[str, str]) -> dict[str, str]:
    """What SLURM reports about this job; empty outside one."""
    job_id = allocation(environ)
    if not job_id:
        return {}
    answer = scontrol("show", "job", "-o", job_id)
    return dict(re.findall(r"(\S+?)=(\S*)", answer.stdout)) if answer and not answer.returncode else {}


def requeue(environ: Mapping[str, str], cause: int) -> str:
    """Requeue this job in SLURM, if it is a batch job that should continue.

    A user's Ctrl-C or `scancel` ends a run for good. SLURM then calls the job CANCELLED.

    Returns:
        What was done, for the log.
    """
    job_id = allocation(environ)
    if not job_id:
        return "the same command resumes from there"
    job = show_job(environ)
    if not job:
        return f"job {job_id} cannot be requeued: scontrol does not answer here"
    if cause == signal.SIGINT or job.get("JobState") != "RUNNING":
        return f"job {job_id} is not requeued: it was interrupted or cancelled"
    if job.get("BatchFlag") != "1" or job.get("Requeue") != "1":
        return f"job {job_id} cannot be requeued: that needs sbatch --requeue"
    answer = scontrol("requeue", job_id)
    if answer is None or answer.returncode:
        return f"job {job_id} could not be requeued: {answer.stderr.strip() if answer else 'no scontrol'}"
    return f"job {job_id} is back in the queue and resumes from there"


def exit_code(launch: Launch, environ: Mapping[str, str] = os.environ) -> int:
    """The exit code of a process that stopped after saving.

    Only rank 0 returns it, because launchers kill the other ranks for such a code. torchrun with --max-restarts would
    restart all ranks.
    """
    if launch.launcher == "torchrun" and environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        log.info("exit code 0: after any other, torchrun --max-restarts would restart the ranks")
        return 0
    return EXIT_CODE if launch.global_rank == 0 else 0


def scontrol(*words: str) -> subprocess.CompletedProcess[str] | None:
    """Run scontrol; None if it is not installed or does not answer."""
    try:
        return subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SCONTROL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning(f"scontrol: {error}")
        return None
