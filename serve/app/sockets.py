"""The port, taken before anything slow starts."""

from __future__ import annotations

import socket

from lightning_app.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """Take the port, so that nobody else can.

    Raises:
        UsageError: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # bind is not enough: until somebody listens, others can bind the address too
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host."
        ) from error
    return listening
