"""A child in a session of its own ends with all that it started, in whatever process groups."""

from __future__ import annotations

import os
import subprocess

import pytest

from lightning_app import sessions
from lightning_app.files import is_alive
from lightning_app.sessions import end_session, running_in_session

# As mpirun does it: (set -m) each child in a process group of its own.
LAUNCHER = "set -m; sleep 600 & echo $!; "


def begin(rest: str) -> tuple[subprocess.Popen[str], int]:
    """A launcher, and the pid of its rank."""
    process = subprocess.Popen(
        ["bash", "-c", LAUNCHER + rest], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_killed_launchers_ranks_are_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "GRACE_SECONDS", 0.2)
    launcher, rank = begin("trap '' TERM; while :; do wait; done")
    assert os.getpgid(rank) != os.getpgid(launcher.pid)
    assert sorted(running_in_session(launcher.pid)) == sorted([launcher.pid, rank])
    end_session(launcher)
    assert launcher.returncode == -9
    assert running_in_session(launcher.pid) == []


def test_ranks_that_their_launcher_left_behind_are_ended() -> None:
    launcher, rank = begin("exit 3")
    assert launcher.wait(10) == 3
    assert running_in_session(launcher.pid) == [rank]
    end_session(launcher)
    assert running_in_session(launcher.pid) == []


def test_a_launcher_that_ends_its_ranks_when_asked_is_not_killed() -> None:
    launcher, _ = begin("trap 'kill $!; exit 5' TERM; while :; do wait; done")
    end_session(launcher)
    assert launcher.returncode == 5
    assert running_in_session(launcher.pid) == []


def test_without_proc_ps_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, rank = begin("while :; do wait; done")
    try:
        monkeypatch.setattr(sessions.Path, "exists", lambda path: False)
        assert sorted(running_in_session(launcher.pid)) == sorted([launcher.pid, rank])
    finally:
        monkeypatch.undo()
        end_session(launcher)
    assert not is_alive(launcher.pid)
