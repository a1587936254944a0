"""The connections of a job: a star around rank 0, made once and kept for as long as the job lives.

Rank 0 listens. The others look for it, and each side shows that it knows the job's token before the other believes it:

    rank 1:  hello TOKEN           rank 0:  welcome TOKEN      (at once)
    rank 1:  1 NODE HOST           rank 0:  {"port": ...}      (when all have come), or {"missing": "..."}

A stranger on a port where rank 0 is looked for does not know the token, so it is passed over; one that connects to
rank 0 keeps nobody waiting. A rank counts once it has introduced itself, for until then it may try again, and only as
long as its connection holds.
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

REPLY_SECONDS = 2.0  # that a stranger on a port is waited for
PAUSE_SECONDS = 0.05  # between two rounds over the ports
ANSWER_SECONDS = 10.0  # in which a rank that has introduced itself must take the answer
LONGEST_LINE = 1024  # of what a rank says before it is answered


@dataclass(frozen=True)
class Peer:
    """Another rank, with a connection that the kernel closes when its process ends.

    Attributes:
        host: its hostname, for messages.
        node: tells nodes apart, also where their hostnames are the same; known to rank 0 only.
    """

    rank: int
    host: str
    connection: socket.socket
    node: str = ""

    @property
    def reached(self) -> str:
        """Our own address, by which it came or was found."""
        return self.connection.getsockname()[0].removeprefix("::ffff:")  # IPv4 on a socket that takes both


class Place(NamedTuple):
    """Where rank 0 listens: on the first of the ports that is free there."""

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
            # Sets SO_REUSEADDR: the connections of a job that has just ended do not block its port.
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
    """As rank 0: wait for all other ranks, then tell each the same.

    Args:
        listener: from `listen`; closed at the end.
        answer: from the other ranks, what to tell them.

    Returns:
        The other ranks, by rank.

    Raises:
        Missing: time is up; the ranks that have come are told so too.
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
    """Who has connected to rank 0.

    Attributes:
        since: when, by the monotonic clock.
        heard: the beginning of its next line.
        welcome: it knows the token.
    """

    connection: socket.socket
    since: float
    heard: bytes = b""
    welcome: bool = False


class Gathering:
    """Rank 0's side. As a context, it closes all connections but those to `peers`.

    Attributes:
        peers: the ranks that are here.
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
        """Ranks that are not here."""
        return [rank for rank in self._others if rank not in self.peers]

    def serve(self, seconds: float) -> None:
        """Listen to all who say something within a time."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._accept()
            else:
                self._hear(key.data)
        for key in list(self._selector.get_map().values()):
            if key.data and not key.data.welcome and time.monotonic() - key.data.since > REPLY_SECONDS:
                self._drop(key.data)

    def tell(self, message: dict[str, Any]) -> None:
        """Tell all who are here. That one has ended meanwhile will be noticed by its connection."""
        for peer in self.peers.values():
            peer.connection.settimeout(ANSWER_SECONDS)
            with suppress(OSError):
                send_line(peer.connection, json.dumps(message, separators=(",", ":")))
            keep_alive(peer.connection)

    def _accept(self) -> None:
        with suppress(OSError):  # it has left again
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, Caller(connection, time.monotonic()))

    def _hear(self, caller: Caller) -> None:
        received = receive(caller.connection)
        *lines, caller.heard = (caller.heard + received).split(b"\n")
        welcome = received and len(caller.heard) < LONGEST_LINE
        try:
            understood = welcome and all(self._understand(caller, line.decode(errors="replace")) for line in lines)
        except OSError:  # it has gone before it was welcomed
            understood = False
        if not understood:
            self._drop(caller)

    def _understand(self, caller: Caller, line: str) -> bool:
        """Whether the line is what a rank of this job says next."""
        if not caller.welcome:
            caller.welcome = line == f"hello {self._token}"
            if caller.welcome:
                send_line(caller.connection, f"welcome {self._token}")
            return caller.welcome
        rank, node, host = (*line.split(" "), "", "", "")[:3]
        if not rank.isdecimal() or int(rank) not in self._others:
            return False
        self.peers[int(rank)] = Peer(int(rank), host, caller.connection, node)  # the newest, if it has come again
        return True

    def _drop(self, caller: Caller) -> None:
        self._selector.unregister(caller.connection)
        caller.connection.close()
        self.peers = {rank: peer for rank, peer in self.peers.items() if peer.connection is not caller.connection}
