"""A rank that fails exits with its error and its code, whatever its main thread does."""

from __future__ import annotations

import socket
import subprocess
import sys
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_app.errors import UsageError
from lightning_app.failure import handler, peer_monitor
from lightning_app.failure.handler import Job, ending_for
from lightning_app.failure.hang_watch import Position
from lightning_app.failure.peer_monitor import Ending, died
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.star import Peer

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


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError(f"rank 3 on {HOST} has no GPU"), f"rank 3 on {HOST} has no GPU", 2),
        (UsageError(f"no GPU, says rank 3 on {HOST}"), f"rank 3 on {HOST}: no GPU, says rank 3 on {HOST}", 2),
        (UsageError(f"rank 4 on {HOST} is missing"), f"rank 3 on {HOST}: rank 4 on {HOST} is missing", 2),
        (KeyError("acc"), f"rank 3 on {HOST}: KeyError: 'acc'", 1),
    ],
)
def test_the_line_begins_with_the_rank_that_fails_and_names_it_once(error: Exception, line: str, code: int) -> None:
    assert ending_for(error, 3) == Ending(line, code)


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


# ---- after the rendezvous: ranks that are connected, in one process


class Noted(Job):
    """A rank that records its exit code and stays."""

    def __init__(self) -> None:
        super().__init__()
        self.left: Queue[int] = Queue()

    def leave(self, code: int) -> Any:
        self.left.put(code)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The errors that all ranks of this process print."""
    lines: list[str] = []
    for module in (handler, peer_monitor):
        monkeypatch.setattr(module, "print_error", lines.append)
        monkeypatch.setattr(module, "silence", lambda: None)
    for module, name in ((handler, "TIDY"), (peer_monitor, "SETTLE"), (peer_monitor, "GRACE")):
        monkeypatch.setattr(module, f"{name}_SECONDS", 0.0)
    return lines


def connected(rank: int, local_rank: int, peer: int, connection: socket.socket) -> Noted:
    """A rank that watches a peer on host b."""
    job, rendezvous = Noted(), SimpleNamespace(peers={peer: Peer(peer, "b", connection)})
    job.watch_peers(rendezvous, rank, local_rank)  # type: ignore[arg-type]  # the rest is not read
    return job


def two_ranks() -> tuple[Noted, Noted]:
    """Rank 0 and rank 1."""
    zeros, ones = socket.socketpair()
    return connected(0, 0, 1, zeros), connected(1, 1, 0, ones)


@pytest.mark.parametrize(
    ("rank", "local_rank", "peer", "announces"),
    [(0, 0, 3, True), (1, 1, 0, True), (2, 0, 0, True), (3, 1, 0, False)],
)
def test_a_death_is_announced_by_rank_zero_and_its_own_by_one_rank_of_each_node(
    rank: int, local_rank: int, peer: int, announces: bool, said: list[str]
) -> None:
    ours, theirs = socket.socketpair()
    job = connected(rank, local_rank, peer, ours)
    theirs.close()
    assert job.left.get(timeout=60) == 1
    assert said == [died(peer, "b").line] * announces


def test_a_rank_that_fails_prints_its_error_and_all_leave_with_its_code(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "this_launch", lambda: Launch("openmpi", 2, 1, 1, 2, 0, 1))
    zero, one = two_ranks()
    one.report(UsageError("wrong"))
    assert [job.left.get(timeout=60) for job in (zero, one)] == [2, 2]
    assert said == [f"rank 1 on {HOST}: wrong"]


def test_a_rank_is_asked_where_it_trains(said: list[str]) -> None:
    zero, one = two_ranks()
    assert zero.monitor is not None
    assert zero.monitor.ask(60) == {(1, "b"): Position(0.0, 0, [])}
    there = Position(1.5, 7, ["here"])
    one.hang_watch = SimpleNamespace(position=lambda: there)  # type: ignore[assignment]
    assert zero.monitor.ask(60) == {(1, "b"): there}
    for job in (zero, one):
        job.end_in_order()
