"""kill -9 for a program and everything it started, at a chosen moment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from time_limits import limit

DEADLINE_S = 120
POLL_S = 0.002
Moment = Callable[[], bool]


def run_until(command: Sequence[str], moment: Moment, folder: Path) -> int:
    """Start a command, and kill it with all its descendants when `moment` says so.

    Returns:
        Its exit status; -9 if it was killed. The output of all attempts is appended to folder/output.
    """
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + limit(DEADLINE_S)
        while process.poll() is None and not moment():
            if time.monotonic() > deadline:
                kill_tree(process.pid)
                raise TimeoutError((folder / "output").read_text()[-4000:])
            time.sleep(POLL_S)
        kill_tree(process.pid)
        return process.wait()


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and its descendants; returns when the descendants are gone too."""
    family = [pid, *descendants(pid)]
    for member in family:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while any(state(member) not in ("", "Z") for member in family):
        time.sleep(POLL_S)


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def state(pid: int) -> str:
    """The kernel's letter for a process's state; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def environ_of(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.partition("=")[::2] for entry in entries)
