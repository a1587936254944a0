"""Limits on connections: their number, and how long each may take to send its request headers.

uvicorn 0.54 has neither a timeout for request headers nor a limit on open connections (h11_impl.H11Protocol).
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("serve")
HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
MAX_CONNECTIONS = 1000
RESERVED_FILES = 100  # file descriptors for everything else


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, which is closed if no complete request arrives in time.

    If all connections are taken, the one that has waited longest for its headers is closed. So connections that send
    nothing, or half a request, lock nobody out. One address may have half of the connections.
    """

    limit = MAX_CONNECTIONS
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        ours = [each for each in self.connections if isinstance(each, BoundedProtocol)]
        own = [each for each in ours if each.client and self.client and each.client[0] == self.client[0]]
        if len(ours) > self.limit:
            self._make_room(ours)
        elif len(own) > self.limit // 2:
            self._make_room(own)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        self._await_headers()
        super().data_received(data)
        if self._busy() and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_headers(self) -> None:
        if self.timer is None and not self._busy():
            self.timer = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self.timer = None
        if not self._busy():
            self.transport.close()

    def _make_room(self, among: list[BoundedProtocol]) -> None:
        idle = [each for each in among if each is not self and not each._busy()]
        # This connection itself, if all others are being answered.
        oldest = min(idle, key=lambda each: each.timer.when() if each.timer else math.inf, default=self)
        oldest.transport.abort()
        self.connections.discard(oldest)


def allow_connections() -> int:
    """Raise the limit on open files as far as this user may; returns how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # macOS has another limit below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES), 10)


def say_once(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler that reports failed accepts once; asyncio would report each of 2,048."""
    if "accept" not in str(context.get("message")):
        loop.default_exception_handler(context)
    elif not getattr(loop, "accept_reported", False):
        loop.accept_reported = True  # type: ignore[attr-defined]  # one loop, one report
        log.warning("cannot accept new connections now: %s", context.get("exception"))
