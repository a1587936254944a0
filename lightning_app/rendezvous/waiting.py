"""How long ranks wait for each other, and what they print meanwhile."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from lightning_app.errors import UsageError

log = logging.getLogger(__name__)

TIMEOUT_VARIABLE = "LIGHTNING_APP_CONNECT_TIMEOUT"
# A cold import of torch and Lightning from a network file system, or on a busy machine, takes minutes.
DEFAULT_TIMEOUT_S = 300.0
FIRST_LINE_S, NEXT_LINES_S = 30.0, 60.0


class Missing(UsageError):
    """Some ranks did not connect in time."""


class Waiting:
    """One wait, starting now.

    Args:
        timeout: seconds; infinity waits as long as `check` does not raise.
        check: called often; raises if there is nothing more to wait for.
        quiet: prints nothing while waiting, because another rank does.
    """

    def __init__(self, timeout: float, check: Callable[[], None] = lambda: None, quiet: bool = False) -> None:
        self.timeout, self._check = timeout, check
        self._began = time.monotonic()
        self._next_line = math.inf if quiet else FIRST_LINE_S

    def over(self, awaited: Callable[[], Sequence[int]]) -> bool:
        """Whether time is up; now and then prints which ranks are missing."""
        self._check()
        waited = time.monotonic() - self._began
        if waited >= self._next_line:
            self._next_line += NEXT_LINES_S
            until = "" if math.isinf(self.timeout) else f" of at most {self.timeout:.0f} ({TIMEOUT_VARIABLE})"
            log.warning(f"still waiting for rank {in_words(awaited())} after {waited:.0f} s{until}")
        return waited > self.timeout


def connect_timeout(environ: Mapping[str, str] = os.environ, default: float = DEFAULT_TIMEOUT_S) -> float:
    """Seconds to wait for the other ranks; a UsageError if the variable is not a positive number."""
    said = environ.get(TIMEOUT_VARIABLE)
    if said is None:
        return default
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"{TIMEOUT_VARIABLE} is {said!r}; expected a number of seconds, such as {DEFAULT_TIMEOUT_S:.0f}."
        )
    return seconds


def missing_message(missing: Sequence[int], world_size: int, timeout: float) -> str:
    """Which ranks are missing."""
    return (
        f"{len(missing)} of {world_size} ranks did not report within {timeout:.0f} s: rank {in_words(missing)}. They "
        "did not start, died before the rendezvous, or cannot reach rank 0; look for their messages above. If they "
        f"only need longer to start, set {TIMEOUT_VARIABLE} to more seconds."
    )


def in_words(ranks: Iterable[int]) -> str:
    """Ascending ranks, such as 1, 2, 3 and 7, as `1-3, 7`."""
    runs = [[rank for _, rank in run] for _, run in groupby(enumerate(ranks), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
