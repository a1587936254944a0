"""python -m serve.load_test: many clients at once against a running demo, for some time; errors, latencies, memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx


@dataclass
class Load:
    """What was seen.

    Attributes:
        seconds: of every answered request, from the upload to the answer.
        errors: one line each.
        elapsed: seconds in all.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed: float = 0.0

    def __str__(self) -> str:
        if not self.seconds:
            return f"no answer; {len(self.errors)} errors: {self.errors[:3]}"
        ordered = sorted(self.seconds)
        p99 = ordered[int(0.99 * (len(ordered) - 1))]
        return (
            f"{len(ordered)} answers in {self.elapsed:.0f} s ({len(ordered) / self.elapsed:.1f} a second), "
            f"median {1000 * statistics.median(ordered):.0f} ms, p99 {1000 * p99:.0f} ms, {len(self.errors)} errors"
        )


async def put_load(url: str, picture: bytes, clients: int, seconds: float) -> Load:
    """Let clients upload a picture and ask for its class, again and again.

    Args:
        url: of the demo.
        picture: a file's bytes.
        clients: at once, each waiting for its answer before it asks again.
        seconds: how long new requests are begun.
    """
    load, started = Load(), time.perf_counter()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"{url}/gradio_api", timeout=60, trust_env=False, limits=limits) as http:
        await asyncio.gather(*(client(http, picture, started + seconds, load) for _ in range(clients)))
    load.elapsed = time.perf_counter() - started
    return load


async def client(http: httpx.AsyncClient, picture: bytes, until: float, load: Load) -> None:
    """One of them."""
    while (asked := time.perf_counter()) < until:
        try:
            await classify(http, picture)
            load.seconds.append(time.perf_counter() - asked)
        except (httpx.HTTPError, ValueError) as error:
            load.errors.append(f"{type(error).__name__}: {error}")


async def classify(http: httpx.AsyncClient, picture: bytes) -> str:
    """The label of a picture, by Gradio's own protocol.

    Raises:
        ValueError: the answer is none.
    """
    uploaded = await http.post("/upload", files={"files": ("picture.png", picture)})
    file = {"path": uploaded.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}
    asked = await http.post("/call/classify", json={"data": [file]})
    answer = await http.get(f"/call/classify/{asked.raise_for_status().json()['event_id']}")
    data = answer.text.rpartition("data: ")[2]
    if "event: complete" not in answer.text:
        raise ValueError(data)
    return json.loads(data)[0]["label"]


def main() -> int:
    """Put load on a demo; 1 where there was an error."""
    parser = argparse.ArgumentParser(prog="python -m serve.load_test", description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    load = asyncio.run(put_load(options.url, options.picture.read_bytes(), options.clients, options.seconds))
    print(load)
    return 1 if load.errors or not load.seconds else 0


if __name__ == "__main__":
    sys.exit(main())
