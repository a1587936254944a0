"""The port, held before anything slow is done."""

from __future__ import annotations

import socket

from lightning_app.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """Hold the port before anything else is done.

    Raises:
        UsageError: somebody else has it, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # only now can nobody else: an address that is bound can be bound again
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port.") from error
    return listening
