"""The last words of a rank that fails: one line with its rank and host, once for the whole job."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from lightning_app.errors import UsageError, UserError
from lightning_app.failure.peer_monitor import FAILED, Ending, Hub, Lifeline, died, join
from lightning_app.failure.shutdown import be_heard, hard_exit, silence
from lightning_app.launchers.detection import this_launch
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.roll_call import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2
TIDY_SECONDS = 3.0  # for loggers to write what they hold; then teardown hangs in something
# Most mistakes are made by all ranks alike: rank 0 says it, and its launcher ends the others before they repeat it.
RANK_ZERO_FIRST_SECONDS = 5.0  # of ranks that start apart on a busy machine
CANCEL_SECONDS = 180.0  # that SLURM's controller may not answer; by default a backup takes its place after 120
CANCEL_ANSWER_SECONDS = 30.0  # of one attempt; scancel itself gives up after 20
CANCEL_PAUSE_SECONDS = 2.0
HEARD_SECONDS = 2.0  # that a launcher on a busy machine may take to read what a rank has printed


class Ranks:
    """What this process knows of the others.

    Attributes:
        lifeline: to them, from the rendezvous on.
        children: the ranks that Lightning started from this process.
        reported: this rank has spoken.
    """

    lifeline: Lifeline | None = None
    children: Sequence[subprocess.Popen] = ()
    reported = False


def alone() -> bool:
    """Whether this process is the whole job, as far as it knows yet."""
    if Ranks.lifeline or Ranks.children:
        return False
    try:
        return this_launch().world_size == 1
    except UsageError:  # nobody knows; that is the error then
        return True


def attach(rank: int, local_rank: int, world_size: int, address: str, port: int, timeout: float) -> None:
    """Join the ranks' lifelines, once, through the store that rank 0 or an agent holds.

    Raises:
        Missing: some ranks did not come within `timeout` seconds.
    """
    from torch.distributed import DistError, TCPStore

    if Ranks.lifeline or world_size == 1:
        return
    # An agent of torchrun keeps its store when it starts its ranks anew.
    key = f"lightning_app/lifeline/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    host = socket.gethostname()
    try:
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=timeout), wait_for_workers=False)
        if rank == 0:
            Ranks.lifeline = hub = Hub(world_size, leave)
            store.set(key, f"{hub.port} {hub.token} {host}")
        else:
            hub_port, token, hub_host = store.get(key).decode().split(" ")
    except DistError as error:
        raise Missing(
            f"rank {rank} on {host} waited {timeout:.0f} s for rank 0 at {address}:{port}: it has not started, has "
            "ended, or cannot be reached."
        ) from error
    if rank == 0:
        hub.gather(timeout, check_children)
    else:
        speaks = local_rank == 0 or rank == 1  # one rank a node; rank 0, which has died, was the first on its own
        Ranks.lifeline = join(address, int(hub_port), token, rank, speaks, hub_host, timeout)


def exit_code(error: BaseException) -> int:
    """2 for what the user can mend."""
    return USAGE_ERROR if isinstance(error, UserError) else FAILED


def fail(error: Exception) -> NoReturn:
    """End this rank, and with it the job."""
    report(error)
    leave(exit_code(error))


def report(error: Exception) -> None:
    """Say this rank's error, unless another rank has failed before; from here on this process lives TIDY_SECONDS.

    Called as soon as the error is seen, for what follows (teardown on a GPU) may wait for the other ranks forever.
    """
    if Ranks.reported:
        return
    Ranks.reported = True
    launch = this_launch()
    who, what = f"rank {launch.global_rank} on {socket.gethostname()}", one_line(error)
    ending = Ending(what if what.startswith(who) else f"{who}: {what}", exit_code(error))
    if Ranks.lifeline is None:
        if launch.global_rank:
            time.sleep(RANK_ZERO_FIRST_SECONDS)
        say(error, ending)
        end_others(launch)
    elif not Ranks.lifeline.fail(ending, lambda: say(error, ending)):
        threading.Event().wait()  # the lifeline's thread ends this process
    silence()
    timer = threading.Timer(TIDY_SECONDS, leave, [ending.code])
    timer.daemon = True
    timer.start()


def end_in_order() -> None:
    """Tell the others that this rank has nothing more to do."""
    if Ranks.lifeline and not Ranks.reported:
        Ranks.lifeline.close()


def one_line(error: Exception) -> str:
    """The kind of an error that nobody foresaw, and its message; of others the message, as many lines as it has."""
    if isinstance(error, UserError):
        return str(error)
    return traceback.format_exception_only(error)[-1].strip()


def say(error: Exception, ending: Ending) -> None:
    """Print a traceback where it helps, then the line."""
    if not isinstance(error, UserError) or "--debug" in sys.argv:
        traceback.print_exception(error)
    print(f"error: {ending.line}", file=sys.stderr, flush=True)


def leave(code: int) -> NoReturn:
    """End this process, and the ranks that it started."""
    for child in Ranks.children:
        child.kill()
    hard_exit(code)


def end_others(launch: Launch) -> None:
    """Before the rendezvous: let a launcher end the other ranks that would not do so for a rank's exit code alone."""
    if launch.launcher == "slurm" and shutil.which("scancel"):  # without srun's --kill-on-bad-exit
        step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
        command = ["scancel", "--ctld", "--signal=KILL", step]
        # Until it ends us too: a busy controller may not answer, and the other ranks would wait for their time limit.
        # --ctld: the controller tells the nodes. By default scancel does, and ends with us before it has told them all.
        deadline = time.monotonic() + CANCEL_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, timeout=CANCEL_ANSWER_SECONDS, check=False)
            time.sleep(CANCEL_PAUSE_SECONDS)
    if launch.launcher == "hydra" and "PMI_FD" in os.environ:
        # MPI_Abort's message to MPICH's proxy, which lets ranks that never called MPI_Init end as they like. It ends
        # at once then, with what it has not yet read of ours.
        be_heard(HEARD_SECONDS)
        with contextlib.suppress(OSError):
            os.write(int(os.environ["PMI_FD"]), f"cmd=abort exitcode={USAGE_ERROR}\n".encode())


def check_children() -> None:
    """End this rank where one that it started has ended before the rendezvous."""
    for rank, child in enumerate(Ranks.children, start=1):
        code = child.poll()
        if code is not None and code < 0:
            raise UsageError(died(rank, socket.gethostname()).line)
        if code:
            leave(code)  # it has said why


def watch_parent() -> None:
    """In a rank that Lightning started: end when the parent, rank 0, ends before the rendezvous."""
    parent = os.getppid()

    def watch() -> None:
        while Ranks.lifeline is None and os.getppid() == parent:
            time.sleep(0.5)
        if Ranks.lifeline is None:
            if this_launch().global_rank == 1:
                print(f"error: {died(0, socket.gethostname()).line}", file=sys.stderr, flush=True)
            hard_exit(FAILED)

    threading.Thread(target=watch, name="parent", daemon=True).start()
