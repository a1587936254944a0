"""Checks the Host and Origin headers, so that a foreign page cannot use the demo through a visitor's browser.

Such a page reaches a server on localhost if its own name resolves to 127.0.0.1 (DNS rebinding); the Host header then
contains that name. If it sends a request across origins, the Origin header contains its name.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Hosts:
    """The names under which clients may address this server.

    Args:
        bound: the address that the server listens on.
        allowed: more names, such as a proxy's.
    """

    def __init__(self, bound: str, allowed: tuple[str, ...] = ()) -> None:
        own = {"localhost", bound, socket.gethostname(), socket.getfqdn(), *allowed}
        self.names = {name.lower() for name in own}
        self.allowed = {name.lower() for name in allowed}

    def fault(self, method: str, headers: Headers) -> str | None:
        """Why a request is refused, or None."""
        host = headers.get("host", "")
        if not self._ours(name_of(host)):
            return f"This server does not have the name {host[:100]!r}; whoever runs it can add it with --allowed_host."
        origin = headers.get("origin")
        if origin is None or method not in UNSAFE:
            return None
        netloc = urlsplit(origin).netloc
        if netloc in (host, headers.get("x-forwarded-host")) or name_of(netloc) in self.allowed:
            return None
        return (
            f"Requests from pages of {origin[:100]!r} are refused; whoever runs this can allow it with --allowed_host."
        )

    def _ours(self, name: str) -> bool:
        """Whether a name is this server's; any IP address passes, because without DNS nothing can be rebound."""
        if name in self.names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def name_of(netloc: str) -> str:
    """The host without its port."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""
