"""How the ranks of a job find each other: a roll call over plain sockets.

Rank 0 holds two ports: one for torch's store, which the kernel picks, and one where it takes the roll
call. The others find the latter (told by MPI, set by the user, or among a few candidates that both
sides derive from the job), say who they are and which job they are of, and wait. When all have come,
each is told the store's port; when time is up, each is told who is missing.

    rank 1:  TOKEN 1 NODE          rank 0:  TOKEN                (at once)
                                   rank 0:  TOKEN ok ANSWER      (when all have come)
    rank 1:  thanks

A port is never picked, closed and used later, so jobs that start at once cannot take each other's. A
stranger on a candidate port does not know the job's token, so it is passed over; one that calls at
rank 0's port keeps nobody waiting. Rank 0 stays until all have thanked: a rank whose first connection
broke comes again.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from io import BufferedReader
from typing import NamedTuple

from lightning_app.errors import UsageError

TIMEOUT_VARIABLE = "LIGHTNING_APP_CONNECT_TIMEOUT"
DEFAULT_TIMEOUT_S = 60.0
# Below the range from which Linux hands out ports on its own (32768 and up).
CANDIDATE_RANGE = (20000, 32000)
CANDIDATES = 16
REPLY_SECONDS = 2.0  # that a stranger on a port is waited for
PAUSE_SECONDS = 0.05  # between two rounds over the candidates
THANKS = "thanks"


class Visitor(NamedTuple):
    """What rank 0 knows of a rank that has come.

    Attributes:
        node: an identity that tells nodes apart.
        reached: rank 0's own address, by which it came.
    """

    node: str
    reached: str


Answer = Callable[[dict[int, Visitor]], str]


class Missing(UsageError):
    """Some ranks did not come to the roll call in time."""


def connect_timeout(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds to wait for the other ranks, where nothing else is said.

    Raises:
        UsageError: the variable is no positive number.
    """
    said = environ.get(TIMEOUT_VARIABLE)
    if said is None:
        return DEFAULT_TIMEOUT_S
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{TIMEOUT_VARIABLE} is {said!r}; expected a number of seconds, {DEFAULT_TIMEOUT_S:.0f} say.")
    return seconds


def candidate_ports(token: str) -> list[int]:
    """The ports where the ranks of a job look for rank 0, the same on every rank."""
    return random.Random(token).sample(range(*CANDIDATE_RANGE), CANDIDATES)


def listen(ports: Sequence[int]) -> socket.socket:
    """Take the first free port of `ports` (0: any), on all interfaces.

    Raises:
        UsageError: none is free.
    """
    for port in ports:
        try:
            # Sets SO_REUSEADDR: the connections of a job that has just ended do not block its port.
            return socket.create_server(("", port), backlog=1024)
        except OSError:
            continue
    raise UsageError(f"rank 0 finds none of the ports {sorted(ports)} free; set MASTER_PORT to one that is.")


def call_the_roll(
    listener: socket.socket, token: str, world_size: int, timeout: float, answer: Answer
) -> dict[int, Visitor]:
    """As rank 0: wait for all other ranks, then answer each.

    Args:
        listener: from `listen`; closed at the end.
        token: of the job.
        world_size: ranks in the job.
        timeout: seconds to wait.
        answer: from the visitors by rank, what to tell everybody (one line).

    Returns:
        All other ranks.

    Raises:
        Missing: time is up; the ranks that have come are told so too.
    """

    async def take() -> dict[int, Visitor]:
        return await RollCall(token, world_size, answer).take(listener, timeout)

    with closing(listener):
        return asyncio.run(take()) if world_size > 1 else {}


class RollCall:
    """Rank 0's side.

    Attributes:
        visitors: the ranks that have come.
        connections: of the ranks that are here now; the newest, if a rank has come again.
        told: ranks that have thanked for the answer.
        reply: what all are told, when all have come.
        visits: of ranks and strangers, those that have ended too.
    """

    def __init__(self, token: str, world_size: int, answer: Answer) -> None:
        self.token, self.others, self.answer = token, range(1, world_size), answer
        self.visitors: dict[int, Visitor] = {}
        self.connections: dict[int, StreamWriter] = {}
        self.told: set[int] = set()
        self.reply: str | None = None
        self.visits: dict[asyncio.Task[None], StreamWriter] = {}
        self.finished = asyncio.Event()

    async def take(self, listener: socket.socket, timeout: float) -> dict[int, Visitor]:
        """Receive visitors until all ranks are told, or time is up."""
        server = await asyncio.start_server(self.receive, sock=listener)
        try:
            await asyncio.wait_for(self.finished.wait(), timeout)
        except asyncio.TimeoutError:
            message = missing_message(self.missing(), len(self.others) + 1, timeout)
            for connection in self.connections.values():
                self.tell(connection, message)
            raise Missing(message) from None
        finally:
            server.close()
            for connection in self.visits.values():
                connection.close()
            await asyncio.gather(*self.visits)
        return self.visitors

    async def receive(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One visitor, from its first word to its last."""
        task = asyncio.current_task()
        assert task is not None, "the server runs it as a task"
        self.visits[task] = writer
        with closing(writer):
            rank = self.admit(await read_line(reader, REPLY_SECONDS), writer)
            if rank is None:
                return
            if await read_line(reader) == THANKS:
                self.told.add(rank)
                if len(self.told) == len(self.others):
                    self.finished.set()
            elif self.connections.get(rank) is writer:
                del self.connections[rank]

    def admit(self, hello: str, writer: StreamWriter) -> int | None:
        """The rank of a visitor that knows the token; it is greeted, and answered if all are here."""
        token, rank, node = (*hello.split(" "), "", "", "")[:3]
        if token != self.token or not rank.isdecimal() or int(rank) not in self.others:
            return None
        self.visitors[int(rank)] = Visitor(node, writer.get_extra_info("sockname")[0])
        self.connections[int(rank)] = writer
        writer.write(f"{self.token}\n".encode())
        if self.reply is not None:
            self.tell(writer, self.reply)
        elif len(self.connections) == len(self.others):
            self.reply = f"ok {self.answer(self.visitors)}"
            for connection in self.connections.values():
                self.tell(connection, self.reply)
        return int(rank)

    def tell(self, connection: StreamWriter, reply: str) -> None:
        connection.write(f"{self.token} {reply}\n".encode())

    def missing(self) -> list[int]:
        """Who is not here, or if all have come, who was not heard of again."""
        return [rank for rank in self.others if rank not in (self.told if self.reply else self.connections)]


async def read_line(reader: StreamReader, timeout: float | None = None) -> str:
    """One line, without its end; nothing where the other side is gone, too slow or talks nonsense."""
    try:
        return (await asyncio.wait_for(reader.readline(), timeout)).decode(errors="replace").strip()
    except (OSError, ValueError, asyncio.TimeoutError):
        return ""


def answer_the_roll(address: str, ports: Sequence[int], token: str, rank: int, timeout: float, node: str) -> str:
    """As any other rank: find rank 0, say who we are, wait for its answer.

    Raises:
        Missing: rank 0 was not found in time, has ended, or says that others are missing.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for port in ports:
            reply = ask(address, port, token, f"{token} {rank} {node}\n", timeout)
            if reply is None:
                continue
            if reply.startswith("ok "):
                return reply.removeprefix("ok ")
            raise Missing(reply)
        time.sleep(PAUSE_SECONDS)
    raise Missing(
        f"rank {rank} on {socket.gethostname()} did not find rank 0 at {address}, ports {list(ports)}, within "
        f"{timeout:.0f} s: it has not started, has died, or a firewall is between the nodes. "
        "Set MASTER_ADDR to an address of rank 0's node that this node can reach."
    )


def ask(address: str, port: int, token: str, hello: str, timeout: float) -> str | None:
    """Rank 0's answer, or None where this port is closed or a stranger's.

    Rank 0 greets at once, but answers only when all are there or its own time is up, and it may have
    started later than we.

    Raises:
        Missing: rank 0 went away after its greeting.
    """
    try:
        connection = socket.create_connection((address, port), REPLY_SECONDS)
    except OSError:
        return None
    with connection, connection.makefile("rb") as lines:
        greeting = converse(connection, lines, hello, longest=len(token) + 1)
        if greeting != f"{token}\n":  # a port that echoes, as our own may, says "TOKEN "
            return None
        connection.settimeout(timeout + REPLY_SECONDS)
        said = converse(connection, lines)
        head, _, reply = said.strip().partition(" ")
        if head != token or not said.endswith("\n"):
            raise Missing(f"rank 0 at {address} ended before all ranks had come; look for its own message above.")
        with suppress(OSError):
            connection.sendall(f"{THANKS}\n".encode())
    return reply


def converse(connection: socket.socket, lines: BufferedReader, word: str = "", longest: int = -1) -> str:
    """Say something and hear one line; nothing where the other side is gone or silent."""
    try:
        connection.sendall(word.encode())
        return lines.readline(longest).decode(errors="replace")
    except OSError:
        return ""


def missing_message(missing: list[int], world_size: int, timeout: float) -> str:
    """Who did not come."""
    who = ", ".join(str(rank) for rank in missing)
    return (
        f"{len(missing)} of {world_size} ranks did not report within {timeout:.0f} s: rank {who}. They did not "
        "start, died before the rendezvous, or cannot reach rank 0; look for their own messages above."
    )
