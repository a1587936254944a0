"""How the ranks of a job find each other: a roll call over plain sockets.

Rank 0 holds two ports: one for torch's store, which the kernel picks, and one where it takes the roll
call. The others find the latter (told by MPI, set by the user, or among a few candidates that both
sides derive from the job), say who they are and which job they are of, and wait. When all have come,
each is told the store's port; when time is up, each is told who is missing.

A port is never picked, closed and used later, so jobs that start at once cannot take each other's; and
a stranger on a candidate port does not know the job's token, so it is passed over.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from lightning_app.errors import UsageError

# Below the range from which Linux hands out ports on its own (32768 and up).
CANDIDATE_RANGE = (20000, 32000)
CANDIDATES = 16
REPLY_SECONDS = 2.0  # that a stranger on a port is waited for
PAUSE_SECONDS = 0.05  # between two rounds over the candidates
LONGEST_LINE = 65536


TIMEOUT_VARIABLE = "LIGHTNING_APP_CONNECT_TIMEOUT"
DEFAULT_TIMEOUT_S = 60.0


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


class Missing(UsageError):
    """Some ranks did not come to the roll call in time."""


def candidate_ports(token: str) -> list[int]:
    """The ports where the ranks of a job look for rank 0, the same on every rank."""
    return random.Random(token).sample(range(*CANDIDATE_RANGE), CANDIDATES)


def listen(ports: Sequence[int]) -> socket.socket:
    """Take the first free port of `ports` (0: any), on all interfaces.

    Raises:
        UsageError: none is free.
    """
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind(("", port))
            listener.listen(1024)
        except OSError:
            listener.close()
            continue
        return listener
    raise UsageError(f"rank 0 finds none of the ports {sorted(ports)} free; set MASTER_PORT to one that is.")


def call_the_roll(
    listener: socket.socket, token: str, world_size: int, timeout: float, answer: Callable[[dict[int, str]], str]
) -> dict[int, str]:
    """As rank 0: wait for all other ranks, then answer each.

    Args:
        listener: from `listen`; closed at the end.
        token: of the job.
        world_size: ranks in the job.
        timeout: seconds to wait.
        answer: from the hosts by rank, what to tell everybody (one line).

    Returns:
        The host of each other rank.

    Raises:
        Missing: time is up; the ranks that have come are told so too.
    """
    deadline = time.monotonic() + timeout
    present: dict[int, tuple[socket.socket, str]] = {}
    with closing(listener):
        while len(present) < world_size - 1 and (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                visitor, _ = listener.accept()
            except TimeoutError:
                break
            known = read_hello(visitor, token)
            if known is None:
                visitor.close()
            else:
                present[known[0]] = (visitor, known[1])
    hosts = {rank: host for rank, (_, host) in present.items()}
    missing = sorted(set(range(1, world_size)) - set(hosts))
    reply = missing_message(missing, world_size, timeout) if missing else f"ok {answer(hosts)}"
    for visitor, _ in present.values():
        with closing(visitor):
            visitor.sendall(f"{token} {reply}\n".encode())
    if missing:
        raise Missing(reply)
    return hosts


def answer_the_roll(
    address: str, ports: Sequence[int], token: str, rank: int, timeout: float, hostname: str | None = None
) -> str:
    """As any other rank: find rank 0, say who we are, wait for its answer.

    Raises:
        Missing: rank 0 was not found in time, or it says that others are missing.
    """
    deadline = time.monotonic() + timeout
    hello = f"{token} {rank} {hostname or socket.gethostname()}\n".encode()
    while time.monotonic() < deadline:
        for port in ports:
            reply = ask(address, port, hello, token, deadline)
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


def ask(address: str, port: int, hello: bytes, token: str, deadline: float) -> str | None:
    """Rank 0's answer, or None where this port is closed or a stranger's.

    Rank 0 takes the connection at once but answers only when all are there, so the wait is long once the
    first byte (a greeting) has come.
    """
    try:
        with socket.create_connection((address, port), timeout=REPLY_SECONDS) as connection:
            connection.sendall(hello)
            if read_line(connection) != token:
                return None
            connection.settimeout(max(deadline - time.monotonic(), 0) + REPLY_SECONDS)
            head, _, reply = read_line(connection).partition(" ")
            return reply if head == token else None
    except OSError:
        return None


def read_hello(visitor: socket.socket, token: str) -> tuple[int, str] | None:
    """The rank and host of a visitor that knows the token; it is greeted with the token in return."""
    try:
        visitor.settimeout(REPLY_SECONDS)
        said, rank, host = read_line(visitor).split(" ")
        if said != token:
            return None
        visitor.sendall(f"{token}\n".encode())
        return int(rank), host
    except (OSError, ValueError):
        return None


def read_line(connection: socket.socket) -> str:
    """One line, without its end; what has come when the other side closes."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE and (byte := connection.recv(1)):
        line += byte
    return line.decode(errors="replace").strip()


def missing_message(missing: list[int], world_size: int, timeout: float) -> str:
    """Who did not come."""
    who = ", ".join(str(rank) for rank in missing)
    return (
        f"{len(missing)} of {world_size} ranks did not report within {timeout:.0f} s: rank {who}. They did not "
        "start, died before the rendezvous, or cannot reach rank 0; look for their own messages above."
    )
