"""How the ranks of a job end together, whatever started them.

From the rendezvous on, every rank keeps a connection to rank 0. The kernel closes it when a process ends, however
it ends, so that a rank which is killed is noticed at once: by gloo's errors nobody would learn which rank it was,
and NCCL may hang for minutes. What a rank sends before the end of its stream are its last words: `bye`, or its error.
Rank 0 lets the first rank that fails print its error, and tells the others, which print nothing more and end. So the
last line of a job is its first error.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NoReturn

from lightning_app.failure.shutdown import hard_exit, keep_alive, read_line, receive, silence, speak_last
from lightning_app.rendezvous.roll_call import Missing, listen, missing_message

FAILED = 1  # exit code of a job that lost a rank
GRACE_SECONDS = 2.0  # in which the launcher may end us itself, so that it blames the rank that failed first
# In which news of an earlier failure arrives, where this rank's error is only its consequence.
SETTLE_SECONDS = 0.5
ANSWER_SECONDS = 5.0  # that a failing rank waits for rank 0 to let it speak
POLL_SECONDS = 0.2
HELLO_SECONDS = 2.0  # that a stranger may take
BYE, SPEAK = "bye", "speak"


@dataclass(frozen=True)
class Ending:
    """Why the job ends.

    Attributes:
        line: the message of the first failure.
        code: exit code.
    """

    line: str
    code: int = FAILED

    @property
    def words(self) -> str:
        """As it is sent."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(words: str) -> Ending | None:
        """What a rank sent; None where it was cut off by its death."""
        try:
            return Ending(**json.loads(words))
        except ValueError:
            return None


class Lifeline:
    """One rank's hold on the others.

    Args:
        speaks: whether this process prints the death of a rank that could not speak for itself.
        leave: ends this process with an exit code.
    """

    def __init__(self, speaks: bool, leave: Callable[[int], NoReturn]) -> None:
        self.speaks, self.leave = speaks, leave
        self._ending: Ending | None = None
        self._decided = threading.Lock()

    def fail(self, ending: Ending, say: Callable[[], None]) -> bool:
        """End the job with this rank's own error, unless another rank failed before.

        Returns:
            False if another rank was first. Then this process is about to be ended by the lifeline's own thread.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Say that this rank has ended in good order."""
        raise NotImplementedError

    def claim(self, ending: Ending) -> bool:
        """Make this the ending that this process knows of; False if it knows an earlier one."""
        with self._decided:
            first = self._ending is None
            self._ending = self._ending or ending
        return first

    def obey(self, ending: Ending, spoken: bool) -> NoReturn:
        """End this process for another rank's failure; from a thread, whatever the main thread hangs in."""
        if self.speaks and not spoken:
            print(f"error: {ending.line}", file=sys.stderr, flush=True)
        silence()
        time.sleep(GRACE_SECONDS)
        self.leave(ending.code)


class Hub(Lifeline):
    """Rank 0's end, where all connections meet."""

    def __init__(self, world_size: int, leave: Callable[[int], NoReturn] = hard_exit) -> None:
        super().__init__(speaks=True, leave=leave)
        self.world_size = world_size
        self.token = os.urandom(8).hex()
        self.listener = listen([0])
        self.port: int = self.listener.getsockname()[1]
        self._others: dict[socket.socket, tuple[int, str]] = {}
        self._gathering = True

    def gather(self, timeout: float, check: Callable[[], None] = lambda: None) -> None:
        """Wait for the other ranks, then watch over them.

        Args:
            timeout: seconds.
            check: called often while waiting; may raise.

        Raises:
            Missing: time is up; the message names the ranks.
        """
        deadline = time.monotonic() + timeout
        self.listener.settimeout(POLL_SECONDS)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()
        while len(self._others) < self.world_size - 1:
            check()
            missing = set(range(1, self.world_size)) - {rank for rank, _ in self._others.values()}
            if time.monotonic() > deadline:
                raise Missing(missing_message(sorted(missing), self.world_size, timeout))
            with contextlib.suppress(TimeoutError):
                self._welcome(self.listener.accept()[0])
        self._gathering = False
        self.listener.close()

    def _welcome(self, visitor: socket.socket) -> None:
        visitor.settimeout(HELLO_SECONDS)
        token, _, known = read_line(visitor).partition(" ")
        if token != self.token:
            visitor.close()
            return
        visitor.sendall(b"welcome\n")
        keep_alive(visitor)
        rank, host = known.split(" ")
        self._others = self._others | {visitor: (int(rank), host)}  # a new one: the watching thread reads it meanwhile

    def _watch(self) -> None:
        words: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            while True:
                # Read before the look for new ones: once all have come, nothing wakes this thread but an end.
                wait = POLL_SECONDS if self._gathering else None
                for connection in self._others.keys() - words.keys():
                    words[connection] = b""
                    selector.register(connection, selectors.EVENT_READ, connection)
                for key, _ in selector.select(wait):
                    connection = key.data
                    if more := receive(connection):
                        words[connection] += more
                    else:
                        selector.unregister(connection)
                        self._ended(connection, words[connection].decode())

    def _ended(self, connection: socket.socket, words: str) -> None:
        if words == BYE:
            return
        said = Ending.of(words)
        ending = said or died(*self._others[connection])
        if self.claim(ending):
            speak_last(connection, SPEAK)
            self._tell_others(ending)
            self.obey(ending, spoken=said is not None)

    def _tell_others(self, ending: Ending) -> None:
        for connection in self._others:
            speak_last(connection, ending.words)

    def fail(self, ending: Ending, say: Callable[[], None]) -> bool:
        time.sleep(SETTLE_SECONDS)
        first = self.claim(ending)
        if first:
            say()
            self._tell_others(ending)
        return first

    def close(self) -> None:
        if self.claim(Ending(BYE, 0)):
            for connection in self._others:
                speak_last(connection, BYE)


class Spoke(Lifeline):
    """Any other rank's end.

    Args:
        connection: to rank 0's hub, which has welcomed us.
        hub_host: rank 0's host, for messages.
    """

    def __init__(self, speaks: bool, connection: socket.socket, hub_host: str) -> None:
        super().__init__(speaks, hard_exit)
        self._connection, self._hub_host = connection, hub_host
        self._may_speak = threading.Event()
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def _watch(self) -> None:
        received = bytearray()
        while more := receive(self._connection):
            received += more
        words = received.decode()
        if words == SPEAK:
            self._may_speak.set()
        elif words != BYE:
            said = Ending.of(words)
            ending = said or died(0, self._hub_host)
            if self.claim(ending):
                self.obey(ending, spoken=said is not None)

    def fail(self, ending: Ending, say: Callable[[], None]) -> bool:
        time.sleep(SETTLE_SECONDS)
        speak_last(self._connection, ending.words)
        self._may_speak.wait(ANSWER_SECONDS)
        first = self.claim(ending)
        if first:
            say()
        return first

    def close(self) -> None:
        if self.claim(Ending(BYE, 0)):
            speak_last(self._connection, BYE)


def join(address: str, port: int, token: str, rank: int, speaks: bool, hub_host: str, timeout: float) -> Spoke:
    """Connect a rank to the hub.

    Raises:
        Missing: the hub does not answer.
    """
    try:
        connection = socket.create_connection((address, port), timeout=timeout)
        connection.sendall(f"{token} {rank} {socket.gethostname()}\n".encode())
        greeting = read_line(connection)
    except OSError as error:
        raise Missing(f"rank 0 on {hub_host} does not answer at {address}:{port} ({error}).") from error
    if not greeting:
        raise Missing(f"rank 0 on {hub_host} has closed {address}:{port}: it has given up, or has ended.")
    connection.settimeout(None)
    keep_alive(connection)
    return Spoke(speaks, connection, hub_host)


def died(rank: int, host: str) -> Ending:
    """The ending by a rank that said nothing."""
    return Ending(
        f"rank {rank} on {host} ended without a word: it was killed (for want of memory, perhaps: see dmesg there, or "
        "the job's memory limit), it crashed, or its node or network failed."
    )
