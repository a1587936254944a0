"""The star of connections, with real sockets: ranks are threads or processes, strangers are sockets."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from lightning_app.errors import UsageError
from lightning_app.rendezvous import star
from lightning_app.rendezvous.joining import join
from lightning_app.rendezvous.places import candidate_ports
from lightning_app.rendezvous.star import ANSWER_SECONDS, Peer, Place, gather, listen
from lightning_app.rendezvous.waiting import Missing, Waiting

LOOPBACK = "127.0.0.1"
TOKEN = "openmpi-17"
LONG = 60.0  # never waited for
SHORT = 2.0  # seconds in which even a busy machine lets a thread connect
JOBS = 50
PROGRAM = Path(__file__).with_name("star_program.py")


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


def say_nodes(peers: Mapping[int, Peer]) -> dict[str, Any]:
    """An answer that names all ranks."""
    return {"nodes": " ".join(f"{rank}:{peers[rank].node}" for rank in sorted(peers))}


def rank_zero(
    pool: ThreadPoolExecutor, listener: socket.socket, world_size: int, timeout: float = LONG
) -> Future[dict[int, Peer]]:
    return pool.submit(lambda: gather(listener, TOKEN, world_size, Waiting(timeout), say_nodes))


def other(pool: ThreadPoolExecutor, ports: Sequence[int], rank: int, timeout: float = LONG) -> Future[Any]:
    """Rank 0's answer, as another rank receives it."""
    place = Place(LOOPBACK, list(ports), TOKEN)
    return pool.submit(lambda: join(lambda: place, rank, f"node{rank}", Waiting(timeout))[1]["nodes"])


def introduced(port: int, rank: int) -> socket.socket:
    """A rank that has introduced itself, and sends no more."""
    connection = socket.create_connection((LOOPBACK, port), LONG)
    connection.sendall(f"hello {TOKEN}\n".encode())
    assert connection.recv(100) == f"welcome {TOKEN}\n".encode()
    connection.sendall(f"{rank} node{rank} host\n".encode())
    return connection


def test_all_ranks_are_told_the_same_when_the_last_has_come(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    port = port_of(listener)
    others = [other(ranks, [port], rank) for rank in (3, 1, 2)]
    peers = rank_zero(ranks, listener, 4).result()
    assert [each.result() for each in others] == ["1:node1 2:node2 3:node3"] * 3
    host = socket.gethostname()
    known = {rank: (peer.rank, peer.node, peer.host, peer.reached) for rank, peer in peers.items()}
    assert known == {rank: (rank, f"node{rank}", host, LOOPBACK) for rank in (1, 2, 3)}


def test_the_connections_stay_open_and_carry_nothing_but_what_is_sent(listener: socket.socket) -> None:
    with ThreadPoolExecutor(1) as pool:
        place = Place(LOOPBACK, [port_of(listener)], TOKEN)
        joined = pool.submit(lambda: join(lambda: place, 1, "node", Waiting(LONG)))
        peers = gather(listener, TOKEN, 2, Waiting(LONG), say_nodes)
        peers[1].connection.sendall(b"more\n")
        zero, _ = joined.result()
    assert (zero.rank, zero.host) == (0, socket.gethostname())
    assert zero.connection.recv(100) == b"more\n"
    zero.connection.close()
    assert peers[1].connection.recv(100) == b""


def test_one_rank_waits_for_nobody(listener: socket.socket) -> None:
    assert gather(listener, TOKEN, 1, Waiting(LONG), say_nodes) == {}


def test_an_answer_may_be_longer_than_a_buffer(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    long = "0," * 300_000
    zero = ranks.submit(lambda: gather(listener, TOKEN, 2, Waiting(LONG), lambda peers: {"nodes": long}))
    assert other(ranks, [port_of(listener)], 1).result() == long
    zero.result()


def test_silent_strangers_at_rank_zero_s_port_keep_nobody_waiting(
    ranks: ThreadPoolExecutor, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(star, "REPLY_SECONDS", LONG)
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
        pytest.param(b"hello openmpi-18\n1 node1 host\n", id="another job"),
        pytest.param(b"hello openmpi-17\n7 node7 host\n", id="no rank of this job"),
        pytest.param(b"hello openmpi-17\n0 node0 host\n", id="rank 0 again"),
        pytest.param(b"hello openmpi-17\none node1 host\n", id="no number"),
        pytest.param(b"hello openmpi-17\n\n", id="no rank"),
        pytest.param(b"1 node1 host\n", id="no token"),
        pytest.param(b"\xff" * 100_000, id="noise"),
    ],
)
def test_who_is_no_rank_of_this_job_is_turned_away(
    said: bytes, ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    zero = rank_zero(ranks, listener, 2)
    with socket.create_connection((LOOPBACK, port_of(listener)), LONG) as stranger:
        stranger.sendall(said)
        heard = b""
        with suppress(ConnectionResetError):  # turned away before all was read
            while more := stranger.recv(100):
                heard += more
        assert heard == (f"welcome {TOKEN}\n".encode() if said.startswith(b"hello openmpi-17") else b"")
        assert other(ranks, [port_of(listener)], 1).result() == "1:node1"
    zero.result()


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"220 smtp\r\n",
        b"welcome openmpi-18\n",
        b"\xff\xfe\n",
        pytest.param(b"hello openmpi-17\n", id="echo"),
    ],
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
    """As rank 0 of another job does, whose port closes while we wait to be admitted."""
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
    introduced(port_of(listener), 2).close()
    waiting = other(ranks, [port_of(listener)], 1)
    for each in (zero, waiting):
        with pytest.raises(Missing, match=r"rank 2\. "):
            each.result()


def test_a_rank_whose_connection_broke_comes_again(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    zero = rank_zero(ranks, listener, 3)
    introduced(port_of(listener), 1).close()
    others = [other(ranks, [port_of(listener)], rank) for rank in (1, 2)]
    assert [each.result() for each in others] == ["1:node1 2:node2"] * 2
    zero.result()


def test_a_rank_that_was_not_welcomed_in_time_counts_only_when_it_has_come_again(
    ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    impatient = socket.create_connection((LOOPBACK, port_of(listener)), LONG)
    impatient.sendall(f"hello {TOKEN}\n".encode())
    impatient.close()  # before rank 0 has looked
    zero = rank_zero(ranks, listener, 3)
    others = [other(ranks, [port_of(listener)], rank) for rank in (2, 1)]
    assert [each.result() for each in others] == ["1:node1 2:node2"] * 2
    zero.result()


@pytest.mark.slow
def test_a_rank_that_came_early_waits_for_as_long_as_rank_zero_does(
    ranks: ThreadPoolExecutor, listener: socket.socket
) -> None:
    early = other(ranks, [port_of(listener)], 1, timeout=SHORT)
    with pytest.raises(Missing, match="rank 2"):
        rank_zero(ranks, listener, 3, timeout=SHORT + ANSWER_SECONDS / 4).result()
    with pytest.raises(Missing, match=r"1 of 3 .* rank 2\. "):
        early.result()


def test_the_end_of_rank_zero_is_noticed_at_once(ranks: ThreadPoolExecutor, listener: socket.socket) -> None:
    waiting = other(ranks, [port_of(listener)], 1)
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(f"welcome {TOKEN}\n".encode())
    connection.recv(100)
    connection.close()
    with pytest.raises(Missing, match=r"rank 0 at .* ended before all ranks had connected"):
        waiting.result()


def test_a_rank_that_finds_nobody_says_where_it_looked() -> None:
    with closing(listen([0])) as free:
        port = port_of(free)
    with pytest.raises(Missing, match=rf"rank 3 on .* did not find rank 0 at 127\.0\.0\.1, ports \[{port}\]"):
        join(lambda: Place(LOOPBACK, [port], TOKEN), 3, "node", Waiting(SHORT))


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
        zero = rank_zero(ranks, opened or listen([port]), 2)
        assert other(ranks, [port], 1).result() == "1:node1"
        zero.result()[1].connection.close()  # first, so it lingers


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["ports of their own", "the same ports for all"])
def test_fifty_jobs_that_start_at_once_find_their_own_ranks(shared: bool) -> None:
    ports = {job: candidate_ports(f"job-{job}") for job in range(JOBS)}
    if shared:
        crowd = [port for token in ("crowd", "crowd2", "crowd3", "crowd4") for port in candidate_ports(token)]
        ports = dict.fromkeys(range(JOBS), crowd)
    environ = os.environ | {"PYTHONPATH": str(PROGRAM.parents[3])}
    with ExitStack() as running:
        processes = {
            (job, rank): running.enter_context(
                subprocess.Popen(
                    [sys.executable, PROGRAM, str(rank), f"job-{job}", *map(str, ports[job])],
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
