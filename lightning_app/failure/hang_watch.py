"""Detects a rank that hangs without dying: it was stopped, or waits for a dead file system.

No connection closes then, and the other ranks wait in a collective. In each rank, a thread periodically checks how far
Lightning's loops have come; the steps do nothing for it. If rank 0 has seen no progress for long enough, it asks the
other ranks where they are, over the peer monitor's connections, and names those that are behind.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from traceback import walk_stack
from typing import Literal, NamedTuple

from lightning_app.errors import UsageError
from lightning_app.rendezvous.waiting import in_words

log = logging.getLogger(__name__)

LOOKS = 60  # per hang limit
LONGEST_PAUSE_SECONDS = 1.0  # between two checks
TIMES_LONGEST = 3  # a step may take this many times the longest so far
UNWATCHED_STEPS = 2  # of an attempt: compiling may take any time
ANSWER_SECONDS = 10.0  # in which the thread of a live rank answers
FRAMES = 12
WHERE_RANKS_WAIT = ("/torch/autograd/", "/torch/distributed/", "/torch/nn/parallel/")
SILENT = (
    "does not answer: it was stopped (SIGSTOP), or its node, its network or a file system hangs. Its stack cannot be "
    "read from here"
)


@dataclass(frozen=True)
class HangOptions:
    """When a rank without progress counts as hanging, and what happens then.

    Args:
        minutes: without any progress in training or evaluation, after which rank 0 names the ranks that are behind and
            shows where each rank is; at least three times the longest step so far.
        then: keep waiting for them (`wait`), or `end` the job with exit code 1.
    """

    minutes: float = 10.0
    then: Literal["wait", "end"] = "wait"

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise UsageError(f"--hang.minutes is {self.minutes}; expected a number above 0.")


class Progress(NamedTuple):
    """How far the loops have come.

    Attributes:
        fetched: training batches whose data has arrived.
        completed: training batches.
        evaluated: a counter that changes with each batch of validation and test.
    """

    fetched: int
    completed: int
    evaluated: int


@dataclass(frozen=True)
class Position:
    """Where a rank is.

    Attributes:
        idle: seconds without progress.
        fetched: training batches whose data has arrived.
        stack: of the thread that trains, innermost frame last.
    """

    idle: float
    fetched: int
    stack: list[str]


# By rank and host; None if one does not answer.
Found = Mapping[tuple[int, str], "Position | None"]


class IdleTime:
    """How long there has been no progress.

    Counted in the thread's checks, which also stop while the whole job is suspended.

    Attributes:
        seconds: without progress.
        limit: seconds that count as a hang.
    """

    def __init__(self, limit: float) -> None:
        self.seconds, self.limit = 0.0, limit
        self._steps, self._began = 0, False
        self._seen: Progress | None = None

    def look(self, progress: Progress, seconds: float) -> bool:
        """Record the progress after this many more seconds; returns whether this is a hang."""
        if progress == self._seen:
            self.seconds += seconds
        elif self._seen:
            # The time before the first batch is not a step, and a resolved outage does not measure one.
            if self._began and not self.hangs:
                self.limit = max(self.limit, TIMES_LONGEST * self.seconds)
            self._steps += progress.completed != self._seen.completed
            self._began, self.seconds = True, 0.0
        self._seen = progress
        return self.hangs

    @property
    def hangs(self) -> bool:
        """Whether this is more than a slow step."""
        return self._steps > UNWATCHED_STEPS and self.seconds >= self.limit


class HangWatch:
    """A thread that watches the progress of the thread that creates this object.

    Args:
        options: when, and what to do.
        progress: of the loops; called from another thread.
        rank: of this process. Rank 0 reports for all; rank 1 only if rank 0 does not answer.
        ask: asks this rank's peers where they are.
        end: ends the job with a message.
    """

    def __init__(
        self,
        options: HangOptions,
        progress: Callable[[], Progress],
        rank: int,
        ask: Callable[[float], Found],
        end: Callable[[str], object],
    ) -> None:
        self.options, self._progress, self._rank, self._ask, self._end = options, progress, rank, ask, end
        self._idle = IdleTime(60 * options.minutes)
        self._watched = threading.get_ident()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="hang watch", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def position(self) -> Position:
        """Where this rank is."""
        return Position(self._idle.seconds, self._progress().fetched, stack_of(self._watched))

    def _watch(self) -> None:
        pause = min(LONGEST_PAUSE_SECONDS, self._idle.limit / LOOKS)
        said = False
        while not self._closed.wait(pause):
            hangs = self._idle.look(self._progress(), pause)
            if hangs and not said and self._rank < 2:
                said = self._report(self._ask(ANSWER_SECONDS))
            elif said and not hangs:
                log.warning("there is progress again")
                said = False

    def _report(self, peers: Found) -> bool:
        """Report who is behind, unless another rank makes progress after all; returns whether it was reported."""
        if self._rank and None not in peers.values():
            return False  # rank 0 will
        found = {**peers, (self._rank, socket.gethostname()): self.position()}
        found = {rank: found[rank] for rank in sorted(found)}
        if any(position and position.idle < self._idle.limit / 2 for position in found.values()):
            return False
        line = f"no progress for {self._idle.seconds:.0f} s. {who_did_not_come(found)}"
        log.warning("\n".join([line, *stacks(found)]))
        if self.options.then == "end":
            self._end(line)
        return True


def who_did_not_come(found: Found) -> str:
    """The ranks that the others wait for, as far as we can tell.

    Those that do not answer; otherwise those that have fetched fewer batches than others; otherwise those that are not
    where torch waits for other ranks.
    """
    if len(found) == 1:
        return "This process makes no progress."
    if silent := [rank for rank, position in found.items() if position is None]:
        return f"{names(silent)} {SILENT}."
    there = {rank: position for rank, position in found.items() if position}
    most = max(position.fetched for position in there.values())
    behind = [rank for rank, position in there.items() if position.fetched < most]
    outside = [rank for rank, position in there.items() if not waits(position)]
    late = behind or outside
    if late and len(late) < len(there):
        return f"{names(late)} did not reach the point where the others wait."
    return "All ranks answer, and none differs from the others: perhaps the network between them hangs."


def waits(position: Position) -> bool:
    """Whether it may be waiting for other ranks."""
    return any(place in frame for frame in position.stack[-1:] for place in WHERE_RANKS_WAIT)


def stack_of(thread: int) -> list[str]:
    """A thread's frames, innermost last; without source lines, whose file system may be what hangs."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return []
    outward = islice(walk_stack(frame), FRAMES)
    lines = [f'  File "{each.f_code.co_filename}", line {number}, in {each.f_code.co_name}' for each, number in outward]
    return lines[::-1]


def stacks(found: Found) -> list[str]:
    """Each distinct stack once, with its ranks."""
    by_stack: dict[str, list[int]] = {}
    for (rank, _), position in found.items():
        if position:
            by_stack.setdefault("\n".join(position.stack), []).append(rank)
    return [f"rank {in_words(ranks)} at:\n{stack}" for stack, ranks in by_stack.items()]


def names(ranks: Iterable[tuple[int, str]]) -> str:
    """Ranks with their hosts."""
    return ", ".join(f"rank {rank} on {host}" for rank, host in ranks)
