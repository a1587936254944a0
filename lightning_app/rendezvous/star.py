"""The connections of a job: a star around rank 0, opened once and kept for the life of the job.

Rank 0 listens. The others look for it, and each side proves that it knows the job's token before the other trusts it:

    rank 1:  hello TOKEN           rank 0:  welcome TOKEN      (at once)
    rank 1:  1 NODE HOST           rank 0:  {"port": ...}      (when all have come), or {"missing": "..."}

A stranger on a port where ranks look for rank 0 does not know the token, so it is skipped; one that connects to rank 0
delays nobody. A rank counts once it has introduced itself, because until then it may try again, and only while its
connection lasts.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning_app.errors import UsageError
from lightning_app.rendezvous.connections import keep_alive, receive, send_line
from lightning_app.rendezvous.waiting import Missing, Waiting, missing_message

REPLY_SECONDS = 2.0  # how long to wait for a stranger on a port
PAUSE_SECONDS = 0.05  # between two rounds over the ports
ANSWER_SECONDS = 10.0  # in which a rank that has introduced itself has to accept the answer
LONGEST_LINE = 1024  # limit on what a rank sends before it is answered


@dataclass(frozen=True)
class Peer:
    """Another rank, with a connection that the kernel closes when its process ends.

    Attributes:
        host: its hostname, for messages.
        node: distinguishes nodes, even if their hostnames are the same; known only to rank 0.
    """

    rank: int
    host: str
    connection: socket.socket
    node: str = ""

    @property
    def reached(self) -> str:
        """Our own address on this connection."""
        return self.connection.getsockname()[0].removeprefix("::ffff:")  # IPv4 on a dual-stack socket


class Place(NamedTuple):
    """Where rank 0 listens: on the first free port of these."""

    address: str
    ports: list[int]
    token: str


def listen(ports: Sequence[int]) -> socket.socket:
    """Listen on the first free port of `ports` (0: any), on all interfaces.

    Raises:
        UsageError: none is free.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    for port in ports:
        try:
            # Sets SO_REUSEADDR: connections of a job that has just ended do not block its port.
            return socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
        except OSError:
            continue
    raise UsageError(f"rank 0 finds none of the ports {sorted(ports)} free; set MASTER_PORT to a free one.")


def gather(
    listener: socket.socket,
    token: str,
    world_size: int,
    waiting: Waiting,
    answer: Callable[[Mapping[int, Peer]], dict[str, Any]],
) -> dict[int, Peer]:
    """As rank 0: wait for all other ranks, send each the same answer, and return them by rank.

    Args:
        listener: from `listen`; closed at the end.
        answer: makes the answer from the other ranks.

    Raises:
        Missing: time is up; the connected ranks are told so too.
    """
    with Gathering(listener, token, world_size) as gathering:
        while missing := gathering.missing:
            if waiting.over(lambda missing=missing: missing):  # type: ignore[misc]  # mypy#12557
                message = missing_message(missing, world_size, waiting.timeout)
                gathering.tell({"missing": message})
                raise Missing(message)
            gathering.serve(PAUSE_SECONDS)
        gathering.tell({"host": socket.gethostname()} | answer(gathering.peers))
    return gathering.peers


@dataclass
class Caller:
    """A connection to rank 0.

    Attributes:
        since: when, by the monotonic clock.
        heard: the start of its next line.
        welcome: it knows the token.
    """

    connection: socket.socket
    since: float
    heard: bytes = b""
    welcome: bool = False


class Gathering:
    """Rank 0's side. As a context manager, it closes all connections except those to `peers`.

    Attributes:
        peers: the ranks that have connected.
    """

    def __init__(self, listener: socket.socket, token: str, world_size: int) -> None:
        self.peers: dict[int, Peer] = {}
        self._listener, self._token, self._others = listener, token, range(1, world_size)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, *exception: object) -> None:
        kept = {peer.connection for peer in self.peers.values()} if exception == (None, None, None) else set()
        for key in list(self._selector.get_map().values()):
            if key.fileobj not in kept:
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
        self._selector.close()

    @property
    def missing(self) -> list[int]:
        """Ranks that have not connected."""
        return [rank for rank in self._others if rank not in self.peers]

    def serve(self, seconds: float) -> None:
        """Listen to all who send something within a time."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._accept()
            else:
                self._hear(key.data)
        for key in list(self._selector.get_map().values()):
            if key.data and not key.data.welcome and time.monotonic() - key.data.since > REPLY_SECONDS:
                self._drop(key.data)

    def tell(self, message: dict[str, Any]) -> None:
        """Tell all connected ranks. If one has ended meanwhile, its connection will show it."""
        for peer in self.peers.values():
            peer.connection.settimeout(ANSWER_SECONDS)
            with suppress(OSError):
                send_line(peer.connection, json.dumps(message, separators=(",", ":")))
            keep_alive(peer.connection)

    def _accept(self) -> None:
        with suppress(OSError):  # it has disconnected again
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, Caller(connection, time.monotonic()))

    def _hear(self, caller: Caller) -> None:
        received = receive(caller.connection)
        *lines, caller.heard = (caller.heard + received).split(b"\n")
        welcome = received and len(caller.heard) < LONGEST_LINE
        try:
            understood = welcome and all(self._understand(caller, line.decode(errors="replace")) for line in lines)
        except OSError:  # it left before it was welcomed
            understood = False
        if not understood:
            self._drop(caller)

    def _understand(self, caller: Caller, line: str) -> bool:
        """Whether the line is what a rank of this job sends next."""
        if not caller.welcome:
            caller.welcome = line == f"hello {self._token}"
            if caller.welcome:
                send_line(caller.connection, f"welcome {self._token}")
            return caller.welcome
        rank, node, host = (*line.split(" "), "", "", "")[:3]
        if not rank.isdecimal() or int(rank) not in self._others:
            return False
        self.peers[int(rank)] = Peer(int(rank), host, caller.connection, node)  # the newest, if it has connected again
        return True

    def _drop(self, caller: Caller) -> None:
        self._selector.unregister(caller.connection)
        caller.connection.close()
        self.peers = {rank: peer for rank, peer in self.peers.items() if peer.connection is not caller.connection}
