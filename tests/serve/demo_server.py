"""The demo as its users start it: python -m serve, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Server:
    """A running demo."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """Threads of the process."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def files(self) -> list[Path]:
        """What it has written: uploads, pictures for the page."""
        return [path for path in self.temporary.rglob("*") if path.is_file()]


@contextmanager
def running(model: Path, temporary: Path, *options: str, **env: str) -> Iterator[Server]:
    """Start the demo at a free port, with an empty folder for its temporary files, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", "--model", str(model), "--port", "0", *options],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(temporary)} | env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # it says where it is when it listens
        address = re.search(r"http://\S+", line)
        assert address, f"the demo did not start: {line}"
        yield Server(address[0], process, temporary)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
