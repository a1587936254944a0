"""A rank that fails exits with its error and its code, whatever its main thread does."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

HOST = socket.gethostname()
RANK_0 = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "LIGHTNING_APP_LAUNCHER": "openmpi"}
RANK_0 |= {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
PREPARE = f"""
import os, subprocess, sys, time
os.environ.update({RANK_0})
from lightning_app.errors import UsageError
from lightning_app.failure import handler
from lightning_app.failure.handler import JOB
handler.TIDY_SECONDS = 0.1
"""


def ended(*lines: str) -> subprocess.CompletedProcess[str]:
    """A process that is rank 0 of two."""
    code = "\n".join([PREPARE, *lines])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(("error", "code"), [("UsageError('wrong')", 2), ("RuntimeError('wrong')", 1)])
def test_a_rank_ends_with_2_for_what_the_user_can_mend_and_else_with_1(error: str, code: int) -> None:
    done = ended(f"JOB.fail({error})")
    assert done.returncode == code
    kind = "" if code == 2 else "RuntimeError: "
    assert done.stderr.splitlines()[-1] == f"error: rank 0 on {HOST}: {kind}wrong"


def test_a_rank_whose_teardown_hangs_after_an_error_is_ended() -> None:
    done = ended("JOB.report(UsageError('wrong'))", "print('not heard', flush=True)", "time.sleep(600)")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: rank 0 on {HOST}: wrong\n")


def test_the_first_error_of_a_rank_is_the_one_that_counts() -> None:
    done = ended("JOB.report(UsageError('first'))", "JOB.report(RuntimeError('second'))", "time.sleep(600)")
    assert (done.returncode, done.stderr) == (2, f"error: rank 0 on {HOST}: first\n")


def test_the_ranks_that_lightning_started_end_with_their_parent() -> None:
    done = ended(
        "child = subprocess.Popen(['sleep', '600'])",
        "JOB.adopt([child]); JOB.adopt([child])",
        "print(child.pid, len(JOB.children), flush=True)",
        "JOB.fail(UsageError('wrong'))",
    )
    pid, children = done.stdout.split()
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    assert (children, state[:1] in ("", "Z")) == ("1", True), state  # a zombie is init's to reap


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [("exit 3", 3, ""), ("kill -9 $$", 2, f"rank 1 on {HOST} ended without a word")],
)
def test_a_child_that_ends_before_the_rendezvous_ends_its_parent(command: str, code: int, said: str) -> None:
    done = ended(
        f"JOB.adopt([subprocess.Popen(['sh', '-c', {command!r}])]); JOB.children[0].wait()",
        "try: JOB.check_children()",
        "except UsageError as error: JOB.fail(error)",
    )
    assert done.returncode == code
    assert said in done.stderr


def test_a_child_that_is_alive_or_has_ended_well_is_no_reason_to_end() -> None:
    done = ended("JOB.adopt([subprocess.Popen(['true'])])", "JOB.children[0].wait()", "JOB.check_children()")
    assert (done.returncode, done.stderr) == (0, "")
