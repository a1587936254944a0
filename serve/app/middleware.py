"""What the server answers at all: the routes that the page and gradio_client need, and bodies of a bounded size.

Gradio 6.31 has many more routes: it fetches addresses (`file=http...`, `proxy=`), stores screen recordings and deep
links, and talks to Hugging Face. None of them is of use here.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = r"|health|config/?|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login/?|logout|(?:static|assets|svelte)/.+"
API = (
    r"info/?|upload|upload_progress|queue/(?:join|data|status)|call/(?:v2/)?\w+/?|call/\w+/\w+|file=(?!\w+:).+"
    r"|heartbeat/\w+|cancel|user/?|login_check/?|theme\.css"
)
# An empty alternative is the page itself.
ROUTES = re.compile(rf"/(?:{PAGE}|gradio_api/(?:{API}))", re.ASCII)
UPLOAD = "/gradio_api/upload"
ENVELOPE = 64_000  # bytes around a picture, and of what is none: multipart headers, JSON
PATIENCE = 10  # times the limit
# The browser, too, goes nowhere else.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class RequestFilter:
    """ASGI middleware.

    Args:
        app: what is guarded.
        max_body: bytes that an upload may have.
    """

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self.app, self.max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if not ROUTES.fullmatch(scope["path"]):
            await PlainTextResponse("There is nothing here.\n", 404)(scope, receive, send)
            return
        limit = self.max_body * (scope["path"] == UPLOAD) + ENVELOPE
        await self.app(scope, counted(receive, limit), with_policy(send))


def counted(receive: Receive, limit: int) -> Receive:
    """Receive, until it is too much: a length need not be declared, or true.

    What follows is thrown away, within reason: who is still sending would not hear the refusal.
    """
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen <= limit:
            return message
        while message.get("more_body") and seen <= PATIENCE * limit:
            message = await receive()
            seen += len(message.get("body", b""))
        raise HTTPException(413, f"At most {max(limit - ENVELOPE, ENVELOPE) / 1e6:g} MB are taken.")

    return receive_counted


def with_policy(send: Send) -> Send:
    """Send, with headers that bind the browser."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with_policy
