"""Thirty-two clients at once."""

from __future__ import annotations

import asyncio

import pytest
from demo_server import Server
from small_artifact import stored_images

from lightning_app.results.examples import as_png
from serve.load_test import put_load

CLIENTS = 32
GROWTH = 24e6  # bytes in 60 s; Gradio's 40 kB for each request of a thousand would be more
pytestmark = pytest.mark.xdist_group("demo")  # one server for all


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_32_clients_get_their_answers_and_memory_stays_bounded(seconds: int, server: Server) -> None:
    picture = as_png(stored_images(1)[0])
    asyncio.run(put_load(server.url, picture, CLIENTS, seconds / 4))  # so that all pools are filled
    before = server.memory()
    load = asyncio.run(put_load(server.url, picture, CLIENTS, seconds))
    print(f"{load}; memory grew by {(server.memory() - before) / 1e6:.1f} MB to {server.memory() / 1e6:.0f} MB")
    assert load.errors == []
    assert len(load.seconds) >= CLIENTS
    assert server.memory() - before < GROWTH
