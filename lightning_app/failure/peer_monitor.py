"""How the ranks of a job end together, whatever started them.

The connections of the rendezvous stay open. The kernel closes them when a process ends, for whatever reason, so a
killed rank is noticed at once. (gloo's errors do not say which rank it was, and NCCL may hang for minutes.) A rank that
finishes says `bye` first; one that fails says why. Rank 0 lets the first rank that fails print its error, and tells the
others, which exit silently. So the last line of a job is its first error.
"""

from __future__ import annotations

import json
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

from lightning_app.failure.hang_watch import Position
from lightning_app.failure.shutdown import hard_exit, print_error, silence
from lightning_app.rendezvous.connections import receive, send_line
from lightning_app.rendezvous.star import Peer

FAILED = 1  # exit code of a job that lost a rank
GRACE_SECONDS = 2.0  # in which the launcher may end us itself, so that it blames the rank that failed first
# In which news of an earlier failure arrives, if this rank's error is only its consequence.
SETTLE_SECONDS = 0.5
ANSWER_SECONDS = 5.0  # how long a failing rank waits for rank 0's permission to print


@dataclass(frozen=True)
class Ending:
    """Why the job ends.

    Attributes:
        line: the message of the first failure.
        code: exit code.
    """

    line: str
    code: int = FAILED


GOOD = Ending("", 0)


class PeerMonitor:
    """Watches one rank's connections from its own thread: rank 0's to all others, any other rank's to rank 0.

    A message is a line of JSON: "bye", "print" (rank 0 lets a failing rank print its error), "where" (it asks where the
    rank is), or an Ending or a Position by its fields.

    Args:
        peers: of the rendezvous; from now on, their connections belong to the monitor.
        announces: whether this process prints the death of a rank that could not do so itself.
        leave: ends this process with an exit code.
        position: where this rank is.
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        announces: bool,
        leave: Callable[[int], NoReturn] = hard_exit,
        position: Callable[[], Position] = lambda: Position(0.0, 0, []),
    ) -> None:
        self._peers, self._announces, self._leave, self._position = peers, announces, leave, position
        self._is_zero = 0 not in peers
        self._ending: Ending | None = None
        self._deciding = threading.Lock()
        self._may_print = threading.Event()
        self._answers: dict[int, Position] = {}
        self._gone: set[int] = set()
        self._all_answered = threading.Event()
        threading.Thread(target=self._watch, name="peer monitor", daemon=True).start()

    def fail(self, ending: Ending, say: Callable[[], None]) -> bool:
        """End the job with this rank's error, which `say` prints, unless another rank failed first.

        Returns:
            False if another rank was first. Then this process is about to be ended by the monitor's thread.
        """
        time.sleep(SETTLE_SECONDS)
        if not self._is_zero:
            self._tell_all(asdict(ending))
            self._may_print.wait(ANSWER_SECONDS)
        first = self._claim(ending)
        if first:
            say()
            if self._is_zero:
                self._tell_all(asdict(ending))
        return first

    def ask(self, seconds: float) -> dict[tuple[int, str], Position | None]:
        """Where the peers are, by rank and host; None for one that does not answer in time."""
        self._answers.clear()
        self._all_answered.clear()
        self._tell_all("where")
        self._all_answered.wait(seconds)
        return {
            (rank, peer.host): self._answers.get(rank) for rank, peer in self._peers.items() if rank not in self._gone
        }

    def close(self) -> None:
        """Announce that this rank has finished."""
        if self._claim(GOOD):
            self._tell_all("bye")

    def _claim(self, ending: Ending) -> bool:
        """Record this as the ending that this process knows of; False if it knows an earlier one."""
        with self._deciding:
            first = self._ending is None
            self._ending = self._ending or ending
        return first

    def _tell_all(self, message: object, but: Peer | None = None) -> None:
        for peer in self._peers.values():
            if peer is not but:
                tell(peer, message)

    def _watch(self) -> None:
        """Listen to all peers until none is left."""
        with selectors.DefaultSelector() as selector:
            for peer in self._peers.values():
                selector.register(peer.connection, selectors.EVENT_READ, Hearing(peer))
            while selector.get_map():
                for key, _ in selector.select():
                    hearing: Hearing = key.data
                    for message in hearing.messages():
                        self._heard(hearing.peer, message)
                    if hearing.ended:
                        self._gone.add(hearing.peer.rank)
                        selector.unregister(key.fileobj)

    def _heard(self, peer: Peer, message: object) -> None:
        if message == "print":
            self._may_print.set()
        elif message == "where":
            tell(peer, asdict(self._position()))
        elif isinstance(message, dict) and "stack" in message:
            self._answers[peer.rank] = Position(**message)
            if self._answers.keys() | self._gone >= self._peers.keys():
                self._all_answered.set()
        elif isinstance(message, dict):
            self._end(peer, Ending(**message), printed=True)
        elif message is None:
            self._end(peer, died(peer.rank, peer.host), printed=False)

    def _end(self, peer: Peer, ending: Ending, printed: bool) -> None:
        """End this process because of another rank's failure, whatever the main thread hangs in."""
        if not self._claim(ending):
            return
        if self._is_zero:
            tell(peer, "print")
            self._tell_all(asdict(ending), but=peer)
        if self._announces and not printed:
            print_error(ending.line)
        silence()
        time.sleep(GRACE_SECONDS)
        self._leave(ending.code)


class Hearing:
    """What arrives from one peer.

    Attributes:
        ended: nothing more will come.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer, self.ended = peer, False
        self._rest, self._bye = b"", False

    def messages(self) -> list[object]:
        """The next ones; None means that a peer ended without bye."""
        received = receive(self.peer.connection)
        *lines, self._rest = (self._rest + received).split(b"\n")
        found: list[object] = [json.loads(line) for line in lines]
        self._bye = self._bye or "bye" in found
        self.ended = not received
        return found if received or self._bye else [*found, None]


def tell(peer: Peer, message: object) -> None:
    """Send a message. If the peer is gone, that will be noticed elsewhere."""
    with suppress(OSError):
        send_line(peer.connection, json.dumps(message))


def died(rank: int, host: str) -> Ending:
    """The ending for a rank that died silently."""
    return Ending(
        f"rank {rank} on {host} ended without a word: it was killed (perhaps out of memory: see dmesg there, or the "
        "job's memory limit), it crashed, or its node or network failed."
    )
