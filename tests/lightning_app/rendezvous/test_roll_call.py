"""The roll call, with real sockets: ranks are threads or processes, strangers are sockets."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lightning_app.errors import UsageError
from lightning_app.rendezvous import roll_call
from lightning_app.rendezvous.roll_call import (
    CANDIDATES,
    REPLY_SECONDS,
    THANKS,
    TIMEOUT_VARIABLE,
    Missing,
    Visitor,
    answer_the_roll,
    call_the_roll,
    candidate_ports,
    connect_timeout,
    listen,
)

LOOPBACK = "127.0.0.1"
TOKEN = "openmpi-17"
LONG = 60.0  # never waited for
SHORT = 2.0  # seconds in which a busy machine does let a thread connect
JOBS = 50
PROCESS = Path(__file__).with_name("rendezvous_process.py")


@pytest.fixture
def ranks() -> Iterator[ThreadPoolExecutor]:
    """Where ranks run at the same time."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Rank 0's."""
    with closing(listen([0])) as opened:
        yield opened


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def say_nodes(visitors: dict[int, Visitor]) -> str:
    """An answer that names everybody."""
    return " ".join(f"{rank}:{visitors[rank].node}" for rank in sorted(visitors))


def rank_zero(
    pool: ThreadPoolExecutor, listener: socket.socket, world_size: int, timeout: float = LONG
) -> Future[dict[int, Visitor]]:
    return pool.submit(call_the_roll, listener, TOKEN, world_size, timeout, say_nodes)


def other(pool: ThreadPoolExecutor, ports: Sequence[int], rank: int, timeout: float = LONG) -> Future[str]:
    return pool.submit(answer_the_roll, LOOPBACK, ports, TOKEN, rank, timeout, f"node{rank}")


def hello(port: int, rank: int, token: str = TOKEN) -> socket.socket:
    """A rank that has said who it is and been greeted, and says no more."""
    connection = socket.create_connection((LOOPBACK, port), LONG)
    connection.sendall(f"{token} {rank} node{rank}\n".encode())
    assert connection.recv(len(token) + 1) == f"{token}\n".encode()
    return connection


def test_all_ranks_are_told_the_same_when_the_last_has_come(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    port = port_of(listener)
    others = [other(ranks, [port], rank) for rank in (3, 1, 2)]
    visitors = rank_zero(ranks, listener, 4).result()
    assert [each.result() for each in others] == ["1:node1 2:node2 3:node3"] * 3
    assert visitors == {rank: Visitor(f"node{rank}", LOOPBACK) for rank in (1, 2, 3)}


def test_one_rank_meets_nobody(listener: socket.socket) -> None:
    assert call_the_roll(listener, TOKEN, 1, LONG, say_nodes) == {}


def test_an_answer_may_be_longer_than_a_buffer(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    long = "0," * 300_000
    zero = ranks.submit(call_the_roll, listener, TOKEN, 2, LONG, lambda visitors: long)
    assert other(ranks, [port_of(listener)], 1).result() == long
    zero.result()


def test_silent_strangers_at_rank_zero_s_port_keep_nobody_waiting(
    ranks: ThreadPoolExecutor, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_call, "REPLY_SECONDS", LONG)
    port = port_of(listener)
    with ExitStack() as strangers:
        for _ in range(20):
            strangers.enter_context(socket.create_connection((LOOPBACK, port)))
        zero = rank_zero(ranks, listener, 2, timeout=LONG / 2)  # less than one of them would be waited for
        assert other(ranks, [port], 1).result() == "1:node1"
        zero.result()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"openmpi-18 1 node1\n", id="another job"),
        pytest.param(b"openmpi-17 7 node7\n", id="no rank of this job"),
        pytest.param(b"openmpi-17 0 node0\n", id="rank 0 again"),
        pytest.param(b"openmpi-17 one node1\n", id="no number"),
        pytest.param(b"openmpi-17\n", id="too short"),
        pytest.param(b"\xff" * 100_000 + b"\n", id="noise"),
    ],
)
def test_a_visitor_that_is_no_rank_of_this_job_is_turned_away(
    said: bytes, ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    zero = rank_zero(ranks, listener, 2)
    with socket.create_connection((LOOPBACK, port_of(listener)), LONG) as stranger:
        stranger.sendall(said)
        try:
            greeting = stranger.recv(100)
        except ConnectionResetError:  # turned away before all was read
            greeting = b""
        assert greeting == b""
        assert other(ranks, [port_of(listener)], 1).result() == "1:node1"
    zero.result()


@pytest.mark.parametrize(
    "greeting", [b"", b"220 smtp\r\n", b"openmpi-18\n", b"\xff\xfe\n", pytest.param(b"openmpi-17 1 node1\n", id="echo")]
)
def test_a_stranger_on_a_candidate_port_is_passed_over(
    greeting: bytes, ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    with closing(listen([0])) as stranger:

        def greet() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(greeting)

        ranks.submit(greet)
        zero = rank_zero(ranks, listener, 2)
        assert other(ranks, [port_of(stranger), port_of(listener)], 1).result() == "1:node1"
        zero.result()


def test_a_silent_stranger_on_a_candidate_port_is_passed_over(
    ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    with closing(listen([0])) as stranger:  # the kernel takes the connection, nobody answers
        zero = rank_zero(ranks, listener, 2)
        assert other(ranks, [port_of(stranger), port_of(listener)], 1).result() == "1:node1"
        zero.result()


def test_a_stranger_that_hangs_up_at_once_is_passed_over(
    ranks: ThreadPoolExecutor, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rank 0 of another job does, whose port closes while we wait to be let in."""
    connect = socket.create_connection

    def connect_and_be_reset(address: tuple[str, int], timeout: float) -> socket.socket:
        connection = connect(address, timeout)
        if address[1] == port_of(stranger):
            accepted, _ = stranger.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            select.select([connection], [], [])
        return connection

    monkeypatch.setattr(socket, "create_connection", connect_and_be_reset)
    with closing(listen([0])) as stranger:
        zero = rank_zero(ranks, listener, 2)
        assert other(ranks, [port_of(stranger), port_of(listener)], 1).result() == "1:node1"
        zero.result()


def test_everybody_is_told_who_is_missing(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    present = [other(ranks, [port_of(listener)], rank) for rank in (1, 3)]
    zero = rank_zero(ranks, listener, 5, timeout=SHORT)
    for each in (zero, *present):
        with pytest.raises(Missing, match=r"2 of 5 ranks did not report within 2 s: rank 2, 4\. "):
            each.result()


def test_a_rank_that_went_away_is_missing(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    zero = rank_zero(ranks, listener, 3, timeout=SHORT)
    hello(port_of(listener), 2).close()
    waiting = other(ranks, [port_of(listener)], 1)
    for each in (zero, waiting):
        with pytest.raises(Missing, match=r"rank 2\. "):
            each.result()


def test_a_rank_whose_connection_broke_comes_again(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    zero = rank_zero(ranks, listener, 3)
    hello(port_of(listener), 1).close()
    others = [other(ranks, [port_of(listener)], rank) for rank in (1, 2)]
    assert [each.result() for each in others] == ["1:node1 2:node2"] * 2
    zero.result()


def test_a_rank_that_did_not_hear_the_answer_comes_again(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    zero = rank_zero(ranks, listener, 2)
    with hello(port_of(listener), 1) as deaf:
        assert deaf.makefile().readline() == f"{TOKEN} ok 1:node1\n"
    assert other(ranks, [port_of(listener)], 1).result() == "1:node1"
    zero.result()


def test_a_rank_that_never_thanks_is_missing(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    zero = rank_zero(ranks, listener, 3, timeout=SHORT)
    with hello(port_of(listener), 2), hello(port_of(listener), 1) as good:
        good.sendall(f"{THANKS}\n".encode())
        with pytest.raises(Missing, match=r"1 of 3 .* rank 2\. "):
            zero.result()


def test_a_rank_that_came_early_waits_for_as_long_as_rank_zero_does(
    ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    early = other(ranks, [port_of(listener)], 1, timeout=SHORT)
    with pytest.raises(Missing, match="rank 2"):
        rank_zero(ranks, listener, 3, timeout=SHORT + REPLY_SECONDS / 2).result()
    with pytest.raises(Missing, match=r"1 of 3 .* rank 2\. "):
        early.result()


def test_the_end_of_rank_zero_is_noticed_at_once(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    waiting = other(ranks, [port_of(listener)], 1)
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(f"{TOKEN}\n".encode())
    connection.close()
    with pytest.raises(Missing, match=r"rank 0 at .* ended before all ranks had come"):
        waiting.result()


def test_a_rank_that_finds_nobody_says_where_it_looked() -> None:
    with closing(listen([0])) as free:
        port = port_of(free)
    with pytest.raises(Missing, match=rf"rank 3 on .* did not find rank 0 at 127\.0\.0\.1, ports \[{port}\]"):
        answer_the_roll(LOOPBACK, [port], TOKEN, 3, SHORT, "node")


def test_the_candidates_are_the_same_on_every_rank_and_others_for_another_job() -> None:
    assert candidate_ports(TOKEN) == candidate_ports(TOKEN)
    assert len({*candidate_ports(TOKEN), *candidate_ports("openmpi-18")}) > CANDIDATES


def test_a_port_that_is_taken_is_left_for_the_next(listener: socket.socket) -> None:
    with closing(listen([0])) as free:
        port = port_of(free)
    with closing(listen([port_of(listener), port])) as opened:
        assert port_of(opened) == port


def test_no_free_port_is_an_error_that_names_them(listener: socket.socket) -> None:
    with pytest.raises(UsageError, match=rf"\[{port_of(listener)}\] free; set MASTER_PORT"):
        listen([port_of(listener)])


def test_the_port_of_a_job_that_has_just_ended_can_be_used(ranks: ThreadPoolExecutor) -> None:
    first = listen([0])
    port = port_of(first)
    for opened in (first, None):
        zero = rank_zero(ranks, opened or listen([port]), 2)  # closes its connections first, so they linger
        assert other(ranks, [port], 1).result() == "1:node1"
        zero.result()


@pytest.mark.parametrize("shared", [False, True], ids=["ports of their own", "the same ports for all"])
def test_fifty_jobs_that_start_at_once_all_meet(shared: bool) -> None:
    ports = {job: candidate_ports(f"job-{job}") for job in range(JOBS)}
    if shared:
        crowd = [port for token in ("crowd", "crowd2", "crowd3", "crowd4") for port in candidate_ports(token)]
        ports = dict.fromkeys(range(JOBS), crowd)
    environ = os.environ | {"PYTHONPATH": str(PROCESS.parents[2])}
    with ExitStack() as running:
        processes = {
            (job, rank): running.enter_context(
                subprocess.Popen(
                    [sys.executable, PROCESS, str(rank), f"job-{job}", *map(str, ports[job])],
                    env=environ,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for job in range(JOBS)
            for rank in (1, 0)
        }
        said = {who: process.communicate()[0] for who, process in processes.items()}
    assert said == {(job, rank): f"job-{job}'s answer\n" for job, rank in processes}


def test_the_timeout_can_be_set_for_the_whole_program() -> None:
    assert connect_timeout({}) == 60
    assert connect_timeout({TIMEOUT_VARIABLE: "2.5"}) == 2.5


@pytest.mark.parametrize("said", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_an_error(said: str) -> None:
    with pytest.raises(UsageError, match=f"{TIMEOUT_VARIABLE} is {said!r}; expected a number of seconds"):
        connect_timeout({TIMEOUT_VARIABLE: said})
