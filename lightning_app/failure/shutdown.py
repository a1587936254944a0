"""Connections whose end is the message, and processes that end without a further word."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import sys
import termios
import time
from typing import NoReturn

# A node that lost its power closes nothing; after so long it counts as dead. Shorter pauses of a network pass.
IDLE = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
KEEPALIVE = {getattr(socket, IDLE): 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
LONGEST_LINE = 1024


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel find out when the other host is gone."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def read_line(connection: socket.socket) -> str:
    """One line, byte by byte, for what follows is not ours to take; nothing from a stranger."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE and (more := receive(connection, 1)):
        line += more
    return line.decode(errors="replace").strip()


def receive(connection: socket.socket, most: int = 4096) -> bytes:
    """What has come; nothing at the end of the stream, also where the other side was reset."""
    try:
        return connection.recv(most)
    except OSError:
        return b""


def speak_last(connection: socket.socket, words: str) -> None:
    """Send last words. The other side may be gone, which it will have been noticed for."""
    with contextlib.suppress(OSError):
        connection.sendall(words.encode())
        connection.shutdown(socket.SHUT_WR)


def be_heard(seconds: float) -> None:
    """Wait until the launcher has read all of our stderr, where that is a pipe: what it ends with unread is lost."""
    deadline = time.monotonic() + seconds
    while unread(2) and time.monotonic() < deadline:
        time.sleep(0.01)


def unread(stream: int) -> int:
    """Bytes that wait in a pipe for its reader."""
    if not stat.S_ISFIFO(os.fstat(stream).st_mode):
        return 0
    return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)


def silence() -> None:
    """Print nothing from here on, from C++ neither."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)


def hard_exit(code: int) -> NoReturn:
    """End without exit hooks: those of MPI and NCCL would wait for ranks that are no more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
