"""Thirty-two clients at once, alone and beside a hostile one; and what the demo costs when they have left."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from demo_server import Server, running
from hostile import encoded
from PIL import Image
from small_artifact import stored_images

from lightning_app.results.examples import as_png
from serve import load_test
from serve.load_test import Load, put_load

CLIENTS = 32
GROWTH = 24e6  # bytes in 60 s; Gradio's 40 kB for each request of a thousand would be more
IDLE_SECONDS = 30
PICTURE = as_png(stored_images(1)[0])
pytestmark = pytest.mark.xdist_group("demo")  # one server for all


def costly(side: int) -> bytes:
    """A few bytes that are many pixels, to be decoded apart from the pictures of others."""
    return encoded(Image.new("RGB", (side, side)), "WEBP", lossless=True)


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_32_clients_get_their_answers_and_memory_stays_bounded(seconds: int, server: Server) -> None:
    asyncio.run(put_load(server.url, PICTURE, CLIENTS, seconds / 4))  # so that all pools are filled
    before = server.memory()
    load = asyncio.run(put_load(server.url, PICTURE, CLIENTS, seconds))
    print(f"{load}; memory grew by {(server.memory() - before) / 1e6:.1f} MB to {server.memory() / 1e6:.0f} MB")
    assert load.errors == []
    assert len(load.seconds) >= CLIENTS
    assert server.memory() - before < GROWTH


def test_beside_a_hostile_client_all_others_get_their_answers(server: Server) -> None:
    load = asyncio.run(put_load(server.url, PICTURE, CLIENTS, 2, costly(1990)))
    assert load.errors == []
    assert len(load.seconds) >= CLIENTS


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hostile_client_at_most_doubles_the_wait_of_the_others_and_a_used_server_is_idle_again(
    artifact: Path, tmp_path: Path
) -> None:
    with running(artifact, tmp_path) as server:
        asyncio.run(put_load(server.url, PICTURE, CLIENTS, 6))
        alone = asyncio.run(put_load(server.url, PICTURE, CLIENTS, 60))
        share = idle_share(server)
        print(f"idle: {100 * share:.2f}% of a core")
        beside = asyncio.run(put_load(server.url, PICTURE, CLIENTS, 60, costly(6320)))
        print(f"alone: {alone}\nbeside a hostile client: {beside}\np99: {beside.p99 / alone.p99:.2f} times")
        assert alone.errors == beside.errors == []
        assert beside.p99 < 2 * alone.p99
        assert share < 0.01


def idle_share(server: Server) -> float:
    """How much of a core it takes while nobody asks for anything."""
    time.sleep(5)  # until connections that are kept alive are closed
    before = cpu_seconds(server)
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(server) - before) / IDLE_SECONDS


def cpu_seconds(server: Server) -> float:
    """What all its threads have taken so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_p99_is_what_one_answer_in_a_hundred_exceeds() -> None:
    assert Load(seconds=[float(second) for second in range(101, 0, -1)]).p99 == 100


@pytest.mark.parametrize(
    ("loads", "code"),
    [
        ([Load([0.1]), Load([0.2])], 0),
        ([Load([0.1]), Load([0.2], ["refused"])], 1),
        ([Load([0.1]), Load()], 1),  # nobody got an answer
    ],
)
def test_an_error_or_a_period_without_answers_is_exit_code_1(
    loads: list[Load], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measured(options: object) -> list[Load]:
        return loads

    monkeypatch.setattr(load_test, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["load_test", "picture.png"])
    assert load_test.main() == code
