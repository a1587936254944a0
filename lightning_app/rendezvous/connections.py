"""Lines over a connection between two ranks, which the kernel closes when either ends."""

from __future__ import annotations

import socket
import sys

# A node that loses power closes nothing; after this time it counts as dead. Shorter network outages are tolerated.
IDLE = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
KEEPALIVE = {getattr(socket, IDLE): 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


def send_line(connection: socket.socket, line: str) -> None:
    connection.sendall(f"{line}\n".encode())


def read_line(connection: socket.socket, longest: float = float("inf")) -> str:
    """One line without its end, and nothing of what follows; empty if the other side is gone."""
    line = b""
    while not line.endswith(b"\n") and len(line) < longest:
        ahead = connection.recv(4096, socket.MSG_PEEK)
        if not ahead:
            return ""
        line += connection.recv(ahead.find(b"\n") + 1 or len(ahead))
    return line.decode(errors="replace").removesuffix("\n")


def receive(connection: socket.socket) -> bytes:
    """What has arrived; empty at the end of the stream, also if the other side was reset."""
    try:
        return connection.recv(4096)
    except OSError:
        return b""


def keep_alive(connection: socket.socket) -> None:
    """Wait without a limit, and let the kernel detect when the other host is gone."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
