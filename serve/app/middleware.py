"""Filters requests: lets through the routes that the page and gradio_client need, and bodies of a limited size.

Gradio 6.31 has many more routes, which fetch URLs (`file=http...`, `proxy=`), store screen recordings and deep links,
or talk to Hugging Face. The demo needs none of them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.app.fair_queue import Busy, Turns
from serve.app.hosts import Hosts
from serve.app.login import Login, address

# Everything that Gradio's front end requests (templates/frontend/assets, index-*.js): for example, `app_id` every two
# seconds after a lost connection, until an answer makes it reload the page, and `reset` after `cancel`.
PAGE = (
    r"|health|classify|openapi\.json|config/?|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login/?|logout"
    r"|(?:static|assets|svelte)/.+|download/[\w.]+"
)
API = (
    r"info/?|upload|upload_progress|queue/(?:join|data|status)|call/(?:v2/)?classify(?:/\w*)?|file=(?!\w+:).+"
    r"|heartbeat/\w+|cancel|reset/?|app_id/?|user/?|login_check/?|theme\.css"
)
# The empty alternative is the page itself.
ROUTES = re.compile(rf"/(?:{PAGE}|gradio_api/(?:{API}))", re.ASCII)
UPLOADS = {"/gradio_api/upload", "/classify"}
OPEN = {"/health", "/login", "/logout", "/favicon.ico", "/robots.txt"}  # without a login
ENVELOPE = 64_000  # bytes besides a picture: multipart headers, or a body of JSON
PATIENCE = 10  # times the limit: so much is read and discarded, so that the client sees the refusal
REST = 3.0  # pause of a client with more POSTs, as a multiple of the last one: so it gets a quarter of the time at most
STALLED_SECONDS, BODY_SECONDS = 30.0, 300.0  # without a byte; for the whole body
# The browser contacts no other site.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class RequestFilter:
    """ASGI middleware, the first to see a request.

    The event loop divides its time among all open requests, so a client with many at once would get most of it.
    Therefore only one of each client's POSTs to Gradio runs at a time. POST /classify is exempt: it costs far less,
    and waits in our own queues.

    Args:
        app: receives the requests that pass.
        max_body: largest upload in bytes.
        hosts: names of this server.
        root_path: path under which a proxy serves the page; the proxy may keep it in requests or remove it.
        login: checks visitors; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, max_body: int, hosts: Hosts, root_path: str = "", login: Login | None = None):
        self.app, self.max_body, self.hosts = app, max_body, hosts
        self.root_path, self.login, self.turns = root_path, login, Turns(rest=REST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        scope["path"] = path = without_prefix(scope["path"], self.root_path)
        scope["raw_path"] = quote(path).encode()
        send = with_policy(send)
        request = HTTPConnection(scope)
        refusal = await self._refusal(path, request, scope["method"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        limit = self.max_body * (path in UPLOADS) + ENVELOPE
        takes_turns = scope["method"] == "POST" and path.startswith("/gradio_api/")
        async with AsyncExitStack() as held:

            async def begin() -> None:
                if takes_turns:
                    await held.enter_async_context(self.turns.turn(address(request)))

            await self.app(scope, bounded(receive, limit, begin), send)

    async def _refusal(self, path: str, request: HTTPConnection, method: str) -> Response | None:
        if fault := self.hosts.fault(method, request.headers):
            return JSONResponse({"detail": fault}, 403)
        if not ROUTES.fullmatch(path):
            if path.startswith("/gradio_api/call/"):
                return JSONResponse({"detail": "There is no such endpoint; expected api_name=/classify."}, 404)
            return PlainTextResponse("Not found.\n", 404)
        if self.login is None or path in OPEN or await self.login.knows(request):
            return None
        if path == "/":
            return RedirectResponse(f"{self.root_path}/login", 303)
        return JSONResponse({"detail": "Log in first, or send name and password (curl -u)."}, 401)


def without_prefix(path: str, prefix: str) -> str:
    """A path without the proxy's prefix, as the application knows it."""
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :] or "/"
    return path


def bounded(receive: Receive, limit: int, begin: Callable[[], Awaitable[None]]) -> Receive:
    """Receive a body of limited size and duration; its declared length may be missing or wrong.

    What exceeds the limit is discarded, up to PATIENCE times the limit, because a client that is still sending would
    not see the refusal. The last part waits for `begin`, so that a client's turn starts when its request is complete.
    """
    seen, complete = 0, False
    until = time.monotonic() + BODY_SECONDS

    async def receive_bounded() -> Message:
        nonlocal seen, complete
        if complete:
            return await receive()  # waits for the client to leave
        message = await in_time(receive, until)
        seen += len(message.get("body", b""))
        while seen > limit and message.get("more_body") and seen <= PATIENCE * limit:
            message = await in_time(receive, until)
            seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"At most {max(limit - ENVELOPE, ENVELOPE) / 1e6:g} MB are accepted.")
        complete = not message.get("more_body")
        if complete:
            try:
                await begin()
            except Busy as error:
                raise HTTPException(429, str(error)) from error
        return message

    return receive_bounded


async def in_time(receive: Receive, until: float) -> Message:
    """The next part of a body; raises an HTTPException if it stalls, or the whole body takes too long."""
    try:
        return await asyncio.wait_for(receive(), min(STALLED_SECONDS, max(until - time.monotonic(), 0)))
    except asyncio.TimeoutError:
        raise HTTPException(408, "The request arrived too slowly.") from None


def with_policy(send: Send) -> Send:
    """Send, with security headers for the browser."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with_policy
