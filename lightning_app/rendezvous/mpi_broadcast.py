"""The only use of MPI: telling all nodes an address. MPI is finalized right after."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

from lightning_app.errors import UsageError

BLOCKED = 3  # exit code if MPI does not return
PRINT_SECONDS = 3.0  # how long a pipe that nobody reads may delay the exit


def exchange(offer: str, rank: int, world_size: int, timeout: float) -> str:
    """Rank 0's `offer`, on every rank.

    Args:
        offer: a line of text, used on rank 0.
        rank, world_size: from the launcher's variables.
        timeout: seconds after which the process exits, because MPI_Init cannot be interrupted.

    Raises:
        UsageError: mpi4py is not installed, or uses a different MPI than the launcher.
    """
    with watchdog(rank, timeout), running_mpi() as mpi:
        check_launcher(mpi, rank, world_size)
        return mpi.COMM_WORLD.bcast(offer, root=0)


@contextlib.contextmanager
def running_mpi() -> Iterator[ModuleType]:
    """MPI, initialised; finalized at once if we initialised it: its exit hook would delay a failed job for seconds."""
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
    if ours:  # not after an error: it would wait for the other ranks
        MPI.Finalize()


def check_launcher(mpi: ModuleType, rank: int, world_size: int) -> None:
    """Check that this MPI belongs to the launcher.

    Raises:
        UsageError: it counts the ranks differently.
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
    """End the process from the watchdog's thread, even if a dead or stopped mpirun does not read our output."""
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
