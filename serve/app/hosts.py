"""Names under which this server may be addressed, so that a foreign page cannot make a visitor's browser use it.

A page from elsewhere reaches a server on localhost when its name is made to resolve to 127.0.0.1 (DNS rebinding): then
the Host header has that name. A request that it sends across origins has its own name in the Origin header.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Hosts:
    """Decides by the headers Host and Origin.

    Args:
        bound: what the server listens on.
        allowed: more names, of a proxy in front of it.
    """

    def __init__(self, bound: str, allowed: tuple[str, ...] = ()) -> None:
        own = {"localhost", bound, socket.gethostname(), socket.getfqdn(), *allowed}
        self.names = {name.lower() for name in own}
        self.allowed = {name.lower() for name in allowed}

    def fault(self, method: str, headers: Headers) -> str | None:
        """Why a request is refused, or None."""
        host = headers.get("host", "")
        if not self._ours(name_of(host)):
            return f"This server is not known as {host[:100]!r}; whoever runs it can add --allowed_host."
        origin = headers.get("origin")
        if origin is None or method not in UNSAFE:
            return None
        netloc = urlsplit(origin).netloc
        if netloc in (host, headers.get("x-forwarded-host")) or name_of(netloc) in self.allowed:
            return None
        return f"Requests from pages of {origin[:100]!r} are not answered; whoever runs this can add --allowed_host."

    def _ours(self, name: str) -> bool:
        """An address needs no resolving, so nobody can rebind it."""
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
