"""A measured program in a separate process that ends when we do, however we end."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning_app.errors import UsageError
from lightning_app.sessions import end_session

PR_SET_PDEATHSIG = 1  # prctl(2): the signal that a child gets when its parent dies, even by SIGKILL
ENDED_BY = (signal.SIGTERM, signal.SIGHUP)  # SIGINT is a KeyboardInterrupt already


def run_module(arguments: Sequence[str], timeout: float) -> dict[str, Any] | None:
    """Run `python -m arguments`, whose last line is JSON; None after `timeout` seconds, a UsageError if it failed."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=die_with_parent()
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_session(process)
    if process.returncode:
        raise UsageError(f"{' '.join(command)} failed with exit code {process.returncode}; its own message is above.")
    return json.loads(said.splitlines()[-1])


def die_with_parent() -> Any:
    """On Linux, a child has to call this before it becomes its program."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Inside it, a signal that asks us to stop raises SystemExit, so that children are ended on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in ENDED_BY if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
