"""Lines over the connection of two ranks, which the kernel closes when either ends."""

from __future__ import annotations

import socket
import sys

# A node that lost its power closes nothing; after so long it counts as dead. Shorter pauses of a network pass.
IDLE = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
KEEPALIVE = {getattr(socket, IDLE): 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


def send_line(connection: socket.socket, line: str) -> None:
    connection.sendall(f"{line}\n".encode())


def read_line(connection: socket.socket, longest: float = float("inf")) -> str:
    """One line without its end, and nothing of what follows it; nothing where the other side is gone."""
    line = b""
    while not line.endswith(b"\n") and len(line) < longest:
        ahead = connection.recv(4096, socket.MSG_PEEK)
        if not ahead:
            return ""
        line += connection.recv(ahead.find(b"\n") + 1 or len(ahead))
    return line.decode(errors="replace").removesuffix("\n")


def receive(connection: socket.socket) -> bytes:
    """What has come; nothing at the end of the stream, also where the other side was reset."""
    try:
        return connection.recv(4096)
    except OSError:
        return b""


def keep_alive(connection: socket.socket) -> None:
    """Wait without a limit, and let the kernel find out when the other host is gone."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
