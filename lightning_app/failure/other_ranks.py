"""Before the rendezvous: ending the other ranks through their launcher."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time

from lightning_app.failure.shutdown import wait_until_read
from lightning_app.launchers.launch import Launch

CANCEL_SECONDS = 180.0  # how long SLURM's controller may not answer; by default, a backup takes over after 120
CANCEL_ANSWER_SECONDS = 30.0  # per attempt; scancel itself gives up after 20
CANCEL_PAUSE_SECONDS = 2.0
READ_SECONDS = 2.0  # how long a launcher on a busy machine may take to read a rank's output
ABORT_CODE = 2


def end_others(launch: Launch) -> None:
    """Make a launcher end the other ranks if it would not do so for one rank's exit code."""
    on_terminal = "SLURM_PTY_PORT" in os.environ  # srun --pty: the step is someone's shell
    if launch.launcher == "slurm" and not on_terminal and shutil.which("scancel"):  # without srun's --kill-on-bad-exit
        cancel_step(f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}")
    if launch.launcher == "hydra" and "PMI_FD" in os.environ:
        abort_mpich(int(os.environ["PMI_FD"]))


def cancel_step(step: str) -> None:
    """Ask SLURM to kill a step, including this process, until it does.

    A busy controller may not answer, and the other ranks would wait until their time limit. With --ctld, the controller
    tells the nodes. By default scancel tells them itself, and is killed with us before it has told them all.
    """
    command = ["scancel", "--ctld", "--signal=KILL", step]
    deadline = time.monotonic() + CANCEL_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            subprocess.run(command, timeout=CANCEL_ANSWER_SECONDS, check=False)
        time.sleep(CANCEL_PAUSE_SECONDS)


def abort_mpich(proxy: int) -> None:
    """Send MPI_Abort's message to MPICH's proxy, which ignores the exit codes of ranks that never called MPI_Init.

    It then exits at once, without reading the rest of our output.
    """
    wait_until_read(READ_SECONDS)
    with contextlib.suppress(OSError):
        os.write(proxy, f"cmd=abort exitcode={ABORT_CODE}\n".encode())
