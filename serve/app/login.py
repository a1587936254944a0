"""One name and password for all visitors: sessions by cookie, and growing delays after wrong passwords."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
from collections import Counter

from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from serve.app.fair_queue import Busy, Turns
from serve.app.panels.templates import render

log = logging.getLogger("serve")
SESSIONS = 1000  # with more, the oldest ends
FIRST_DELAY, LONGEST_DELAY = 0.25, 8.0  # seconds before a wrong password is answered; each doubles it
ATTEMPTS = 10  # how many of one address may wait


class Login:
    """The sessions of visitors who are logged in.

    Args:
        user, password: of all visitors.
        port: goes into the cookie's name, since browsers share cookies between the ports of a host.
        root_path: path under which a proxy serves the page.
    """

    def __init__(self, user: str, password: str, port: int, root_path: str = "") -> None:
        self.user, self.password = user, password
        self.cookie, self.root_path = f"serve-session-{port}", root_path
        self.tokens: dict[str, None] = {}  # in the order of their logins
        self.failures = Counter[str]()
        self.turns = Turns(ATTEMPTS)

    async def knows(self, request: HTTPConnection) -> bool:
        """Whether a request has a session's cookie, or the password itself (curl -u name:password)."""
        if request.cookies.get(self.cookie) in self.tokens:
            return True
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return await self.check(address(request), user, password)

    async def check(self, client: str, user: str, password: str) -> bool:
        """Whether name and password are correct; attempts of one address are checked one after another."""
        try:
            async with self.turns.turn(client):
                if same(user, self.user) & same(password, self.password):
                    self.failures.pop(client, None)
                    return True
                delay = min(FIRST_DELAY * 2 ** self.failures[client], LONGEST_DELAY)
                self.failures[client] = min(self.failures[client] + 1, 10)
                log.warning("wrong name or password from %s (name %.40r)", client, user)
                await asyncio.sleep(delay)
                return False
        except Busy:
            return False

    def begin(self) -> str:
        """Start a session; returns its token."""
        token = secrets.token_urlsafe(32)
        self.tokens[token] = None
        if len(self.tokens) > SESSIONS:
            del self.tokens[next(iter(self.tokens))]
        return token

    def add_routes(self, app: FastAPI) -> None:
        """Add the login page, its form, and the logout, which ends only one session."""

        @app.get("/login", include_in_schema=False)
        def ask() -> Response:
            return HTMLResponse(render("login.html", root_path=self.root_path, wrong=False))

        @app.post("/login", include_in_schema=False)
        async def log_in(request: Request) -> Response:
            form = await request.form(max_files=0, max_fields=10)
            browser = "text/html" in request.headers.get("accept", "")
            user, password = str(form.get("username", "")), str(form.get("password", ""))
            if not await self.check(address(request), user, password):
                if browser:
                    return HTMLResponse(render("login.html", root_path=self.root_path, wrong=True), 400)
                return JSONResponse({"detail": "Wrong name or password."}, 400)
            back = RedirectResponse(f"{self.root_path}/", 303) if browser else JSONResponse({"success": True})
            secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
            back.set_cookie(self.cookie, self.begin(), httponly=True, samesite="lax", secure=secure)
            return back

        @app.get("/logout", include_in_schema=False)
        def refuse() -> Response:
            """Not by GET: an image on a foreign page could request it."""
            return JSONResponse({"detail": "Log out with POST."}, 405)

        @app.post("/logout", include_in_schema=False)
        def log_out(request: Request) -> Response:
            self.tokens.pop(request.cookies.get(self.cookie, ""), None)
            back = RedirectResponse(f"{self.root_path}/login", 303)
            back.delete_cookie(self.cookie)
            return back


def same(found: str, expected: str) -> bool:
    """Whether two strings are equal; the time does not reveal where they differ."""
    return hmac.compare_digest(found.encode(), expected.encode())


def address(request: HTTPConnection) -> str:
    """The client's address, by which limits and delays are counted."""
    return request.client.host if request.client else ""
