"""Fair queueing: clients take turns, however many requests each has."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from lightning_app.errors import UserError

CAPACITY, SHARE = 256, 128  # how many jobs may wait, of all clients and of one
RECENT = 10.0  # seconds
TOO_MANY = "Too many requests are waiting; try again in a minute."
T = TypeVar("T")


class Busy(UserError):
    """Too many requests are waiting; the message is for the client."""


def one_thread() -> Executor:
    """A worker thread in this process."""
    return ThreadPoolExecutor(max_workers=1)


class Job(NamedTuple):
    """Work, and the future that receives its result."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]


class FairQueue:
    """Runs jobs one at a time in a worker of its own; waiting clients take turns, however many jobs each has.

    Call all methods from one event loop.

    Args:
        start_worker: creates the worker, and a new one when a job has killed it.
        capacity, share: how many jobs may wait, of all clients and of one.
    """

    def __init__(self, start_worker: Callable[[], Executor], capacity: int = CAPACITY, share: int = SHARE) -> None:
        self.start_worker, self.capacity, self.share = start_worker, capacity, share
        self.waiting: dict[str, deque[Job]] = {}  # by client, in the order of their turns
        self.running = False
        self.worker = start_worker()

    async def run(self, client: str, work: Callable[[], T]) -> T:
        """Wait for this client's turn, then for the work.

        Raises:
            Busy: too many jobs are waiting.
            BrokenExecutor: the job killed its worker.
        """
        own = self.waiting.get(client, ())
        if len(own) >= self.share or sum(map(len, self.waiting.values())) >= self.capacity:
            raise Busy(TOO_MANY)
        job = Job(work, asyncio.get_running_loop().create_future())
        self.waiting.setdefault(client, deque()).append(job)
        self._start_next()
        return await job.done

    def _start_next(self) -> None:
        while self.waiting and not self.running:
            client = next(iter(self.waiting))
            jobs = self.waiting.pop(client)
            job = jobs.popleft()
            if jobs:
                self.waiting[client] = jobs  # to the end of the line
            if not job.done.cancelled():  # its client has not left
                self.running = True
                self._submit(job).add_done_callback(partial(self._finish, job))

    def _submit(self, job: Job) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        try:
            return loop.run_in_executor(self.worker, job.work)
        except BrokenExecutor:  # killed while it was idle
            self.worker = self.start_worker()
            return loop.run_in_executor(self.worker, job.work)

    def _finish(self, job: Job, finished: asyncio.Future[Any]) -> None:
        self.running = False
        error = finished.exception()
        if isinstance(error, BrokenExecutor):
            self.worker = self.start_worker()
        if not job.done.cancelled():
            if error is None:
                job.done.set_result(finished.result())
            else:
                job.done.set_exception(error)
        self._start_next()


class Turns:
    """Lets each client do one thing at a time; its other requests wait.

    Args:
        share: how many requests of one client may be here, including the one whose turn it is.
        rest: pause before the next turn of a client with more requests, as a multiple of its last turn. There is no
            pause if no other client came within RECENT seconds: everybody behind one address is one client.
    """

    def __init__(self, share: int = SHARE, rest: float = 0) -> None:
        self.share, self.rest = share, rest
        self.present = Counter[str]()
        self.locks: dict[str, asyncio.Lock] = {}
        self.recent: dict[str, float] = {}

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for this client's turn, and keep it until the end of the block.

        Raises:
            Busy: too many of its requests are waiting.
        """
        if self.present[client] >= self.share:
            raise Busy(TOO_MANY)
        self.present[client] += 1
        self.recent[client] = time.monotonic()
        try:
            async with self.locks.setdefault(client, asyncio.Lock()):
                began = time.perf_counter()
                yield
                if self.rest and self.present[client] > 1 and self._others(client):
                    await asyncio.sleep(self.rest * (time.perf_counter() - began))
        finally:
            self.present[client] -= 1
            if not self.present[client]:
                del self.present[client], self.locks[client]

    def _others(self, client: str) -> bool:
        """Whether another client came within RECENT seconds."""
        until = time.monotonic() - RECENT
        self.recent = {each: at for each, at in self.recent.items() if at > until}
        return not self.recent.keys() <= {client}
