"""Whatever one rank does, all exit, and one line says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dead_pipes import dead_pipe, full_pipe

PROGRAM = Path(__file__).with_name("peer_monitor_program.py")
REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 120  # on a busy machine; ranks that are not told to end sleep much longer


def run(folder: Path, *acts: str, stdout: int = subprocess.PIPE) -> list[tuple[int, str]]:
    """One rank for each act: exit code and what it printed."""
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(rank), str(len(acts)), str(folder), act],
            env=environ,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, act in enumerate(acts)
    ]
    try:
        said = [rank.communicate(timeout=DEADLINE_S)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, text or "") for rank, text in zip(ranks, said, strict=True)]


def died(rank: int, host: str) -> str:
    """How the line begins."""
    return f"error: rank {rank} on {host} ended without a word"


def test_a_killed_rank_is_named_once_by_rank_zero_and_the_others_end(tmp_path: Path) -> None:
    (zero, said), (one, quiet), (killed, _) = run(tmp_path, "wait", "wait", "die")
    assert said.startswith(died(2, os.uname().nodename))
    assert said.count("\n") == 1
    assert (zero, one, killed, quiet) == (1, 1, -signal.SIGKILL, "")


def test_where_rank_zero_is_killed_one_rank_of_a_node_says_so(tmp_path: Path) -> None:
    (killed, _), (one, said), (two, quiet) = run(tmp_path, "die", "wait", "wait")
    assert said.startswith(died(0, os.uname().nodename))
    assert (killed, one, two, quiet) == (-signal.SIGKILL, 1, 1, "")


def test_a_failing_rank_speaks_and_the_others_end_silently_with_its_code(tmp_path: Path) -> None:
    assert run(tmp_path, "wait", "fail", "wait") == [(2, ""), (2, "error: rank 1 failed\n"), (2, "")]


def test_a_failing_rank_zero_too(tmp_path: Path) -> None:
    assert run(tmp_path, "fail", "wait") == [(2, "error: rank 0 failed\n"), (2, "")]


def test_of_ranks_that_fail_at_once_one_speaks(tmp_path: Path) -> None:
    ended = run(tmp_path, "fail", "fail", "fail", "fail")
    assert [code for code, _ in ended] == [2] * 4
    assert "".join(text for _, text in ended).count("error:") == 1


def test_ranks_that_end_in_good_order_disturb_nobody(tmp_path: Path) -> None:
    assert run(tmp_path, "end", "end", "end") == [(0, "")] * 3


def test_a_rank_is_asked_where_it_stands_while_its_main_thread_waits(tmp_path: Path) -> None:
    (_, said), _ = run(tmp_path, "ask", "ask")
    assert said == f"((1, '{os.uname().nodename}'), Position(idle=1.5, fetched=1, stack=['here']))\n"


def test_a_rank_that_fails_after_others_have_ended_still_speaks(tmp_path: Path) -> None:
    assert run(tmp_path, "wait", "end", "fail") == [(2, ""), (0, ""), (2, "error: rank 2 failed\n")]


@pytest.mark.slow
@pytest.mark.parametrize("stdout", [dead_pipe, full_pipe])
def test_all_end_also_where_nothing_can_be_printed(stdout: Callable[[], int], tmp_path: Path) -> None:
    ended = run(tmp_path, "wait", "fail", "die", stdout=stdout())
    assert [code for code, _ in ended[:2]] in ([2, 2], [1, 1])  # which of both was first is not decided here
