"""The demo as its users start it: python -m serve, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gradio_api import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]
PORT = ("--port", "0")  # a free one


@dataclass
class Server:
    """A running demo."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path
    errors: BinaryIO

    def said(self) -> str:
        """Its standard error, so far."""
        return os.pread(self.errors.fileno(), 1_000_000, 0).decode()

    def wait_until_it_says(self, words: str) -> None:
        """Wait for words in it."""
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """Threads of the process."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def files(self) -> list[Path]:
        """What it has written: uploads, pictures for the page."""
        # Not rglob: it raises where a folder is deleted while it looks.
        return [Path(folder, name) for folder, _, names in os.walk(self.temporary) for name in names]


@contextmanager
def running(model: Path, temporary: Path, *options: str, **env: str) -> Iterator[Server]:
    """Start the demo at a free port, with an empty folder for its temporary files, and end it."""
    with starting(model, temporary, *options, **env) as server:
        assert server.process.stdout is not None
        line = server.process.stdout.readline()  # it says where it is when it listens
        address = re.search(r"http://\S+", line)
        assert address, f"the demo did not start: {line}{server.said()}"
        server.url = address[0].rstrip("/")
        yield server


def hear_hang_ups() -> None:
    """As a terminal's program does; under nohup, tests inherit that they are ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def starting(model: Path, temporary: Path, *options: str, **env: str) -> Iterator[Server]:
    """The same, not waiting until it answers."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", "--model", str(model), *(() if "--port" in options else PORT), *options],
            cwd=REPOSITORY,
            env=os.environ | {"TMPDIR": str(temporary)} | env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=hear_hang_ups,
        )
        try:
            yield Server("", process, temporary, errors)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)
