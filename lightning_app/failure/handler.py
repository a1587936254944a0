"""How this process ends its job when it fails: one line with its rank and host, once for all ranks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from lightning_app.errors import UsageError, UserError
from lightning_app.failure.hang_watch import HangOptions, HangWatch, Position, Progress
from lightning_app.failure.other_ranks import end_others
from lightning_app.failure.peer_monitor import FAILED, Ending, PeerMonitor, died
from lightning_app.failure.shutdown import attempt, hard_exit, print_error, silence
from lightning_app.launchers.detection import this_launch
from lightning_app.rendezvous.rendezvous import Rendezvous

USAGE_ERROR = 2
TIDY_SECONDS = 3.0  # for loggers to write what they hold; after that, teardown must be hanging
# All ranks usually make the same mistake: rank 0 prints it, and its launcher kills the others before they repeat it.
RANK_ZERO_FIRST_SECONDS = 5.0  # between ranks that start on a busy machine
PARENT_POLL_SECONDS = 0.5


class Job:
    """The job that this process belongs to, as far as it knows the other ranks.

    Attributes:
        monitor: of the other ranks, once the rendezvous is done.
        children: the ranks that Lightning started from this process.
        hang_watch: of this rank, while it trains.
        reported: this rank has printed its error, or another rank has.
    """

    def __init__(self) -> None:
        self.monitor: PeerMonitor | None = None
        self.children: list[subprocess.Popen] = []
        self.hang_watch: HangWatch | None = None
        self.reported = False

    def alone(self) -> bool:
        """Whether this process is the whole job, as far as it knows so far."""
        if self.monitor or self.children:
            return False
        try:
            return this_launch().world_size == 1
        except UsageError:  # nobody knows; the error says so later
            return True

    # ---- before and at the rendezvous

    def watch_parent(self) -> None:
        """In a rank that Lightning started: exit if the parent, rank 0, exits before the rendezvous."""
        parent = os.getppid()

        def watch() -> None:
            while self.monitor is None and os.getppid() == parent:
                time.sleep(PARENT_POLL_SECONDS)
            if self.monitor is None:
                if this_launch().global_rank == 1:
                    print_error(died(0, socket.gethostname()).line)
                hard_exit(FAILED)

        threading.Thread(target=watch, name="parent", daemon=True).start()

    def adopt(self, children: Sequence[subprocess.Popen]) -> None:
        """Make the ranks that Lightning started from this process exit with it."""
        self.children += [child for child in children if child not in self.children]

    def check_children(self) -> None:
        """Exit if a rank that this one started has exited before the rendezvous."""
        for rank, child in enumerate(self.children, start=1):
            code = child.poll()
            if code is not None and code < 0:
                raise UsageError(died(rank, socket.gethostname()).line)
            if code:
                self.leave(code)  # it has printed why

    def watch_peers(self, rendezvous: Rendezvous, rank: int, local_rank: int) -> None:
        """From here on, exit together with the other ranks."""
        if rendezvous.peers and self.monitor is None:
            announces = local_rank == 0 or rank == 1  # one rank per node; if rank 0 dies, the first on its node
            self.monitor = PeerMonitor(rendezvous.peers, announces, self.leave, self.position)

    # ---- while it trains

    def watch_progress(self, options: HangOptions, progress: Callable[[], Progress]) -> HangWatch:
        """Detect when neither this rank nor another makes progress; close it at the end of the fit."""
        ask = lambda seconds: self.monitor.ask(seconds) if self.monitor else {}  # noqa: E731
        self.hang_watch = HangWatch(options, progress, this_launch().global_rank, ask, self.end_hanging)
        return self.hang_watch

    def position(self) -> Position:
        """Where this rank is; before it trains, it does not count as stuck."""
        return self.hang_watch.position() if self.hang_watch else Position(0.0, 0, [])

    def end_hanging(self, line: str) -> NoReturn:
        """End a job in which a rank hangs: that rank may have to be killed."""
        ending = Ending(line)
        if self.monitor is None:
            print_error(line)
        elif not self.monitor.fail(ending, lambda: print_error(line)):
            threading.Event().wait()  # the monitor's thread ends this process
        silence()
        end_others(this_launch())
        self.leave(ending.code)

    # ---- the end

    def fail(self, error: Exception) -> NoReturn:
        """End this rank, and with it the job."""
        self.report(error)
        self.leave(exit_code(error))

    def report(self, error: Exception) -> None:
        """Print this rank's error, unless another rank failed first; the process then lives TIDY_SECONDS.

        Called as soon as the error is known: what follows (teardown on a GPU) may wait for the other ranks forever.
        """
        if self.reported:
            return
        self.reported = True
        launch = this_launch()
        ending = ending_for(error, launch.global_rank)
        if self.monitor is None:
            if launch.global_rank:
                time.sleep(RANK_ZERO_FIRST_SECONDS)
            say(error, ending)
            end_others(launch)
        elif not self.monitor.fail(ending, lambda: say(error, ending)):
            threading.Event().wait()  # the monitor's thread ends this process
        silence()
        timer = threading.Timer(TIDY_SECONDS, self.leave, [ending.code])
        timer.daemon = True
        timer.start()

    def end_in_order(self) -> None:
        """Tell the others that this rank has finished."""
        if self.monitor and not self.reported:
            self.monitor.close()

    def leave(self, code: int) -> NoReturn:
        """End this process, and the ranks that it started."""
        for child in self.children:
            child.kill()
        hard_exit(code)


# Of this process. __main__ and the strategy share it, with only Lightning between them.
JOB = Job()


def exit_code(error: BaseException) -> int:
    """2 for errors that the user can fix."""
    return USAGE_ERROR if isinstance(error, UserError) else FAILED


def ending_for(error: Exception, rank: int) -> Ending:
    """The ending that names this rank and its host once, even if the error does so itself."""
    who, what = f"rank {rank} on {socket.gethostname()}", one_line(error)
    return Ending(what if what.startswith(who) else f"{who}: {what}", exit_code(error))


def one_line(error: Exception) -> str:
    """Type and message of an unexpected error; for others just the message, which may have several lines."""
    if isinstance(error, UserError):
        return str(error)
    return traceback.format_exception_only(error)[-1].strip()


def say(error: Exception, ending: Ending) -> None:
    """Print a traceback if it helps, then the line."""
    if not isinstance(error, UserError) or "--debug" in sys.argv:
        attempt(lambda: traceback.print_exception(error))
    print_error(ending.line)
