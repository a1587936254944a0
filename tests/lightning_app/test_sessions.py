"""A child in its own session ends with everything it started, in any process group."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lightning_app import sessions
from lightning_app.files import is_alive
from lightning_app.sessions import end_session, running_in_session

# As mpirun does it: (set -m) each child in a process group of its own.
LAUNCHER = "set -m; sleep 600 & "
Begin = Callable[[str], tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a launcher, which then does what it is told and prints its rank's pid: its process, and that pid."""
    begun = []

    def start(rest: str) -> tuple[subprocess.Popen[str], int]:
        command = ["bash", "-c", LAUNCHER + rest]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        begun.extend([process.pid, rank := int(process.stdout.readline())])
        return process, rank

    yield start
    for pid in begun:  # of a test that failed
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_launchers_ranks_are_ended_too(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "GRACE_SECONDS", 0.2)
    launcher, rank = begin("trap '' TERM; echo $!; wait; sleep 600")
    assert os.getpgid(rank) != os.getpgid(launcher.pid)
    assert sorted(running_in_session(launcher.pid)) == sorted([launcher.pid, rank])
    end_session(launcher)
    assert launcher.returncode == -9
    assert running_in_session(launcher.pid) == []


def test_ranks_that_their_launcher_left_behind_are_ended(begin: Begin) -> None:
    launcher, rank = begin("echo $!; exit 3")
    assert launcher.wait(10) == 3
    assert running_in_session(launcher.pid) == [rank]
    end_session(launcher)
    assert running_in_session(launcher.pid) == []


def test_a_launcher_that_ends_its_ranks_when_asked_is_not_killed(begin: Begin) -> None:
    launcher, _ = begin("trap 'kill $!; exit 5' TERM; echo $!; wait; sleep 600")
    end_session(launcher)
    assert launcher.returncode == 5
    assert running_in_session(launcher.pid) == []


def test_without_proc_ps_finds_the_same(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, rank = begin("echo $!; wait; sleep 600")
    try:
        monkeypatch.setattr(sessions.Path, "exists", lambda path: False)
        assert sorted(running_in_session(launcher.pid)) == sorted([launcher.pid, rank])
    finally:
        monkeypatch.undo()
        end_session(launcher)
    assert not is_alive(launcher.pid)
