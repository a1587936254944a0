"""Requests of one client wait for one another where they cost most, and for nothing else."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from serve.app.fair_queue import SHARE
from serve.app.hosts import Hosts
from serve.app.middleware import RequestFilter

POST = "POST /gradio_api/upload"


class Application:
    """Reads each request to its end, notes the client's port, and holds it until the gate is open."""

    def __init__(self) -> None:
        self.gate, self.begun = asyncio.Event(), []
        self.filter = RequestFilter(self, 1000, Hosts("127.0.0.1"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.begun.append(scope["client"])
        await self.gate.wait()

    async def ask(self, request: str, client: str, name: int, *, complete: bool = True) -> None:
        """One request, through the filter."""
        parts: list[Message] = [{"type": "http.request", "body": b"x", "more_body": not complete}]

        async def receive() -> Message:
            if not parts:
                await self.gate.wait()
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError(f"refused: {message}")

        method, _, path = request.partition(" ")
        scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"localhost")]}
        await self.filter({**scope, "client": (client, name)}, receive, send)


async def begun_before_any_is_done(*asked: tuple[str, str, bool]) -> list[int]:
    """Which of some requests (what, of whom, whether it is complete) are in work at once; the last must be."""
    app = Application()
    tasks = [
        asyncio.ensure_future(app.ask(request, client, name, complete=complete))
        for name, (request, client, complete) in enumerate(asked)
    ]
    while len(asked) - 1 not in [name for _, name in app.begun]:
        await asyncio.sleep(0)
    found = [name for _, name in app.begun]
    app.gate.set()
    await asyncio.gather(*tasks)
    assert len(app.begun) == len(asked)
    return found


def test_one_post_of_a_client_is_in_work_at_a_time() -> None:
    asked = [(POST, "10.0.0.1", True), (POST, "10.0.0.1", True), (POST, "10.0.0.2", True)]
    assert asyncio.run(begun_before_any_is_done(*asked)) == [0, 2]


@pytest.mark.parametrize(
    "request_of_it",
    [(POST, False), ("GET /gradio_api/queue/data", True), ("POST /classify", True)],
    ids=["a slow upload", "a stream", "a wait"],
)
def test_a_slow_upload_a_stream_and_an_answer_that_is_waited_for_keep_no_post_waiting(
    request_of_it: tuple[str, bool],
) -> None:
    first, complete = request_of_it
    asked = [(first, "10.0.0.1", complete), (POST, "10.0.0.1", True)]
    assert asyncio.run(begun_before_any_is_done(*asked))[-1] == 1


def test_of_too_many_posts_the_last_is_refused() -> None:
    async def ask() -> list[object]:
        app = Application()
        tasks = [asyncio.ensure_future(app.ask(POST, "10.0.0.1", name)) for name in range(SHARE + 1)]
        while not app.begun:
            await asyncio.sleep(0)
        app.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    *answered, refused = asyncio.run(ask())
    assert answered == [None] * SHARE
    assert isinstance(refused, HTTPException)
    assert refused.status_code == 429
