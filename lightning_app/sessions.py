"""A child in its own session, ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10.0  # for a launcher to end its ranks
KILLED_SECONDS = 5.0  # for killed processes to disappear; one that waits for a dead disk never does
POLL_SECONDS = 0.02


def end_session(process: subprocess.Popen[Any]) -> None:
    """End a child that was started with `start_new_session=True`, and everything in its session.

    SIGTERM asks first; what remains after `GRACE_SECONDS` is killed. When this returns, all are gone. The child's
    process group would not be enough: Open MPI's mpirun starts each rank in its own group, so a killed mpirun would
    leave its ranks running.
    """
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    deadline = time.monotonic() + KILLED_SECONDS
    while (left := running_in_session(process.pid)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(POLL_SECONDS)
    process.wait()


def running_in_session(session: int) -> list[int]:
    """Processes in this session except zombies: on Linux from /proc, elsewhere from ps."""
    if Path("/proc/self/stat").exists():
        stats = {int(path.parent.name): stat_of(path) for path in Path("/proc").glob("[0-9]*/stat")}
        return [pid for pid, (state, of) in stats.items() if of == session and state not in "ZX"]
    said = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True).stdout
    rows = [line.split() for line in said.splitlines()]
    return [int(pid) for pid, state in rows if not state.startswith("Z") and session_of(int(pid)) == session]


def stat_of(path: Path) -> tuple[str, int]:
    """State and session of a process, from /proc/<pid>/stat (proc(5)), where the name in parentheses precedes them."""
    try:
        fields = path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # it has exited meanwhile
        return "X", 0
    return fields[0], int(fields[3])


def session_of(pid: int) -> int:
    """0 if the process has exited meanwhile, or belongs to another user."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0
