"""python -m serve.load_test: put load on a running demo, and measure what a hostile client costs the others.

Prints answers, latencies and errors; with --hostile, also those of a second period with one more client, which keeps 80
requests with a costly picture in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread

import httpx

from serve.app.uploads.decoder import end_with_parent

HOSTILE_REQUESTS = 80  # in flight from the hostile client
WARM_UP = 0.1  # share of a period, before the first one


@dataclass
class Load:
    """What the clients measured in one period.

    Attributes:
        seconds: latency of each answered request, from the upload to the answer.
        errors: one line each.
        elapsed: length of the period in seconds.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def p99(self) -> float:
        """The 99th percentile of the latency in seconds."""
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))]

    def __str__(self) -> str:
        if not self.seconds:
            return f"no answer; {len(self.errors)} errors: {self.errors[:3]}"
        return (
            f"{len(self.seconds)} answers in {self.elapsed:.0f} s ({len(self.seconds) / self.elapsed:.1f} a second), "
            f"median {1000 * statistics.median(self.seconds):.0f} ms, p99 {1000 * self.p99:.0f} ms, "
            f"{len(self.errors)} errors"
        )


async def put_load(url: str, picture: bytes, clients: int, seconds: float, hostile: bytes | None = None) -> Load:
    """Let clients upload a picture and ask for its class, repeatedly.

    Args:
        url: of the demo.
        picture: a file's bytes.
        clients: number of clients, each of which waits for its answer before it asks again.
        seconds: how long the clients start new requests.
        hostile: a picture that one more client sends, 80 requests at once; its answers are not counted.
    """
    with nullcontext() if hostile is None else attacked(url, hostile):
        load, started = Load(), time.perf_counter()
        await asyncio.gather(*(client(url, number, picture, started + seconds, load) for number in range(clients)))
        load.elapsed = time.perf_counter() - started
    return load


@cache
def certificates() -> ssl.SSLContext:
    """The trusted certificates, loaded once: loading them for each client would delay all clients."""
    return httpx.create_ssl_context()


def connection(url: str, number: int) -> httpx.AsyncClient:
    """A client's connections; to a demo on this machine, each client has its own address, as visitors do."""
    own = url.startswith("http://127.0.0.1:") and sys.platform == "linux"  # on Linux all of 127.0.0.0/8 is this machine
    transport = httpx.AsyncHTTPTransport(
        verify=certificates(),
        local_address=f"127.0.{1 + number // 250}.{1 + number % 250}" if own else None,
        limits=httpx.Limits(max_connections=None, keepalive_expiry=1),  # before uvicorn closes them, after 5 s
    )
    return httpx.AsyncClient(base_url=f"{url}/gradio_api", timeout=60, transport=transport)


async def client(url: str, number: int, picture: bytes, until: float, load: Load) -> None:
    """Classify the picture until a time; note each latency or error in `load`."""
    async with connection(url, number) as http:
        while (asked := time.perf_counter()) < until:
            try:
                await classify(http, picture)
                load.seconds.append(time.perf_counter() - asked)
            except (httpx.HTTPError, ValueError) as error:
                load.errors.append(f"{type(error).__name__}: {error}")


@contextmanager
def attacked(url: str, picture: bytes) -> Iterator[None]:
    """Run a hostile client in a separate process, so that its own work does not delay the measuring clients."""
    context = get_context("spawn")
    ready = context.Event()
    process = context.Process(target=run_attack, args=(url, picture, ready), daemon=True)
    process.start()
    try:
        while not ready.wait(0.1):
            assert process.is_alive(), "the hostile client did not start"
        yield
    finally:
        process.terminate()
        process.join()


def run_attack(url: str, picture: bytes, ready: Event) -> None:
    """Attack until the process is terminated."""
    Thread(target=end_with_parent, daemon=True).start()
    ready.set()
    asyncio.run(attack(url, picture))


async def attack(url: str, picture: bytes) -> None:
    """Keep HOSTILE_REQUESTS requests with a picture in flight, endlessly."""

    async def insist(http: httpx.AsyncClient) -> None:
        while True:
            try:
                await classify(http, picture)
            except (httpx.HTTPError, ValueError):  # refused
                await asyncio.sleep(0.01)

    async with connection(url, 9999) as http:
        await asyncio.gather(*(insist(http) for _ in range(HOSTILE_REQUESTS)))


async def classify(http: httpx.AsyncClient, picture: bytes) -> str:
    """The label of a picture, over Gradio's own protocol.

    Raises:
        ValueError: no answer; the message is the server's.
    """
    uploaded = await http.post("/upload", files={"files": ("picture.png", picture)})
    file = {"path": uploaded.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}
    asked = await http.post("/call/classify", json={"data": [file]})
    answer = await http.get(f"/call/classify/{asked.raise_for_status().json()['event_id']}")
    data = answer.text.rpartition("data: ")[2]
    if "event: complete" not in answer.text:
        raise ValueError(data)
    return json.loads(data)[0]["label"]


async def measure(options: argparse.Namespace) -> list[Load]:
    """Measure and print a period without the hostile client, then one with it, if there is one."""
    picture = options.picture.read_bytes()
    await put_load(options.url, picture, options.clients, WARM_UP * options.seconds)
    loads = [await put_load(options.url, picture, options.clients, options.seconds)]
    print(f"{options.clients} clients: {loads[0]}")
    if options.hostile is not None:
        hostile = options.hostile.read_bytes()
        loads.append(await put_load(options.url, picture, options.clients, options.seconds, hostile))
        print(f"and a hostile client: {loads[1]}")
        if all(load.seconds for load in loads):
            print(f"p99 with / without it: {loads[1].p99 / loads[0].p99:.2f}")
    return loads


def main() -> int:
    """Returns the exit code: 1 if there was an error."""
    parser = argparse.ArgumentParser(prog="python -m serve.load_test", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path, help="the file that the clients upload")
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="of the demo (default: http://127.0.0.1:7860)")
    parser.add_argument("--clients", type=int, default=32, help="number of clients (default: 32)")
    parser.add_argument("--seconds", type=float, default=60, help="length of a period (default: 60)")
    parser.add_argument("--hostile", type=Path, help="a costly picture, for a second period with a hostile client")
    loads = asyncio.run(measure(parser.parse_args()))
    return 1 if any(load.errors or not load.seconds for load in loads) else 0


if __name__ == "__main__":
    sys.exit(main())
