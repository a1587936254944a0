"""Gradio's HTTP protocol, by hand: what gradio_client would not send, a stranger may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 240


def client(url: str) -> httpx.Client:
    """Plain HTTP, without a proxy, and with patience for a busy machine."""
    return httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)


class Refused(Exception):
    """The server said no."""


class Api:
    """One client of a running demo."""

    def __init__(self, url: str) -> None:
        self.http = client(f"{url}/gradio_api")

    def upload(self, content: bytes, name: str = "picture.png") -> str:
        """Upload a file; returns its path on the server."""
        answer = self.http.post("/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            raise Refused(answer.text)
        return answer.json()[0]

    def classify(self, content: bytes, name: str = "picture.png") -> dict[str, Any]:
        """The answer for a picture."""
        return self.call("classify", {"path": self.upload(content, name), "orig_name": name})

    def call(self, endpoint: str, picture: dict[str, Any] | None) -> dict[str, Any]:
        """Call an endpoint with whatever is said to be a picture.

        Raises:
            Refused: with the server's words.
        """
        data = None if picture is None else {"meta": {"_type": "gradio.FileData"}, **picture}
        asked = self.http.post(f"/call/{endpoint}", json={"data": [data]})
        if asked.status_code != 200:
            raise Refused(asked.text)
        return result(self.http.get(f"/call/{endpoint}/{asked.json()['event_id']}").text)


def result(events: str) -> dict[str, Any]:
    """What a stream of server-sent events ends with."""
    kind, data = "", "null"
    for line in events.splitlines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
    if kind != "complete":
        raise Refused(data)
    return json.loads(data)[0]


def picture_files(folder: Path) -> list[Path]:
    """Uploads and pictures below a server's temporary folder."""
    return [path for path in folder.rglob("*") if path.is_file()]
