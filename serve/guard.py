"""What the server answers at all: the routes that the page and gradio_client need, and bodies of a bounded size.

Gradio 6.31 has many more routes: it fetches addresses (`file=http...`, `proxy=`), stores screen recordings and deep
links, and talks to Hugging Face. None of them is of use here.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = r"|health|config/?|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login/?|logout|(?:static|assets|svelte)/.+"
API = (
    r"info/?|upload|upload_progress|queue/(?:join|data|status)|call/(?:v2/)?\w+/?|call/\w+/\w+|file=(?!\w+:).+"
    r"|heartbeat/\w+|cancel|reset/?|user/?|login_check/?|token/?|app_id/?|startup-events|theme\.css"
)
ROUTES = re.compile(rf"/(?:{PAGE}|gradio_api/(?:{API}))", re.ASCII)
ENVELOPE = 64_000  # bytes around a picture: multipart headers, JSON
# The browser, too, goes nowhere else.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


class TooLarge(Exception):
    """A body went beyond the limit."""


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        max_body: bytes that a request may have.
    """

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self.app, self.max_body = app, max_body + ENVELOPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if not ROUTES.fullmatch(scope["path"]):
            await PlainTextResponse("There is nothing here.\n", 404)(scope, receive, send)
            return
        if declared(scope) > self.max_body:
            await self._refuse(scope, receive, send)
            return
        started = False

        async def send_with_policy(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        try:
            await self.app(scope, self._counted(receive), send_with_policy)
        except TooLarge:
            if not started:
                await self._refuse(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        """Receive, until it is too much: a length need not be declared, or true."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body:
                raise TooLarge
            return message

        return counted

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"The file is too large; at most {(self.max_body - ENVELOPE) / 1e6:g} MB are taken.\n"
        # The rest of the body is not read, so nothing else can come over this connection.
        await PlainTextResponse(text, 413, {"Connection": "close"})(scope, receive, send)


def declared(scope: dict[str, Any] | Scope) -> int:
    """The Content-Length, 0 where there is none."""
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0
