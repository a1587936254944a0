"""The one thing that MPI is started for: telling all nodes an address. Then it is ended again."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

from lightning_app.errors import UsageError

BLOCKED = 3  # exit code when MPI itself does not come back
PRINT_SECONDS = 3.0  # that a pipe which nobody reads may hold up the end


def exchange(offer: str, rank: int, world_size: int, timeout: float) -> str:
    """Rank 0's `offer`, on every rank.

    Args:
        offer: a line of text, used on rank 0.
        rank, world_size: as the launcher's variables tell them.
        timeout: seconds after which the process ends, for MPI_Init cannot be interrupted.

    Raises:
        UsageError: mpi4py is not installed, or uses another MPI than the launcher's.
    """
    with watchdog(rank, timeout), running_mpi() as mpi:
        check_launcher(mpi, rank, world_size)
        return mpi.COMM_WORLD.bcast(offer, root=0)


@contextlib.contextmanager
def running_mpi() -> Iterator[ModuleType]:
    """MPI, initialised; ended at once where it wasn't before: its exit hook would hold a failed job for seconds."""
    try:
        import mpi4py
    except ImportError as error:
        raise UsageError(
            "several nodes under mpirun need mpi4py to find each other, and it is not installed. Install it (pip "
            "install 'laptop-to-cluster[mpi]'), or set MASTER_ADDR to rank 0's address (mpirun -x MASTER_ADDR=...)."
        ) from error
    mpi4py.rc.initialize = mpi4py.rc.finalize = False
    from mpi4py import MPI

    ours = not MPI.Is_initialized()
    if ours:
        MPI.Init()
    yield MPI
    if ours:  # not after an error: the other ranks would be waited for
        MPI.Finalize()


def check_launcher(mpi: ModuleType, rank: int, world_size: int) -> None:
    """Whether this MPI is that of the launcher.

    Raises:
        UsageError: it counts the ranks otherwise.
    """
    found = mpi.COMM_WORLD.Get_rank(), mpi.COMM_WORLD.Get_size()
    if found != (rank, world_size):
        library = mpi.Get_library_version().splitlines()[0].strip("\0 ")
        raise UsageError(
            f"mpirun says rank {rank} of {world_size}, but the MPI library that mpi4py loaded says rank {found[0]} of "
            f"{found[1]}: it is not mpirun's MPI ({library}). Set MPI4PY_LIBMPI to the libmpi.so of this mpirun, on "
            "all ranks."
        )


@contextlib.contextmanager
def watchdog(rank: int, timeout: float) -> Iterator[None]:
    """End the process if the body takes longer than `timeout` seconds."""
    timer = threading.Timer(timeout, give_up, [rank, timeout])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def give_up(rank: int, timeout: float) -> None:
    """End the process from the watchdog's thread, also where a dead or a stopped mpirun does not read what it says."""
    threading.Timer(PRINT_SECONDS, os._exit, [BLOCKED]).start()
    try:
        print(
            f"error: rank {rank} on {socket.gethostname()}: MPI did not start within {timeout:.0f} s: some ranks have "
            "not started, or the MPI library that mpi4py loads does not belong to this mpirun (set MPI4PY_LIBMPI to "
            "its libmpi.so).",
            file=sys.stderr,
            flush=True,
        )
    finally:
        os._exit(BLOCKED)
