"""Downloads that give up: on a compute node without a network, packets are often dropped silently."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 15.0  # without a single byte


@contextmanager
def impatient_sockets(seconds: float = SECONDS) -> Iterator[None]:
    """Give new sockets a timeout; torchvision and torch.hub set none, and the system's is over two minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
