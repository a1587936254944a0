"""The one thing that MPI is started for: telling all nodes an address. Then it is ended again."""

from __future__ import annotations

import os
import socket
import sys
import threading

from lightning_app.errors import UsageError

BLOCKED = 3  # exit code when MPI itself does not come back


def exchange(offer: str, rank: int, world_size: int, timeout: float) -> str:
    """Rank 0's `offer`, on every rank.

    MPI is ended at once where it wasn't running before: its exit hook would hold a failed job for seconds.

    Args:
        offer: a line of text, used on rank 0.
        rank, world_size: as the launcher's variables tell them.
        timeout: seconds after which the process ends, for MPI_Init cannot be interrupted.

    Raises:
        UsageError: mpi4py is not installed, or uses another MPI than the launcher's.
    """
    try:
        import mpi4py
    except ImportError as error:
        raise UsageError(
            "several nodes under mpirun need mpi4py to find each other, and it is not installed. Install it (pip "
            "install 'laptop-to-cluster[mpi]'), or set MASTER_ADDR to rank 0's address (mpirun -x MASTER_ADDR=...)."
        ) from error
    mpi4py.rc.initialize = mpi4py.rc.finalize = False
    watchdog = threading.Timer(timeout, give_up, [rank, timeout])
    watchdog.daemon = True
    watchdog.start()
    try:
        from mpi4py import MPI

        ours = not MPI.Is_initialized()
        if ours:
            MPI.Init()
        found = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
        if found != (rank, world_size):
            library = MPI.Get_library_version().splitlines()[0].strip("\0 ")
            raise UsageError(
                f"mpirun says rank {rank} of {world_size}, but the MPI library that mpi4py loaded says rank "
                f"{found[0]} of {found[1]}: it is another MPI than mpirun's ({library}). "
                "Set MPI4PY_LIBMPI to the libmpi.so of this mpirun, on all ranks."
            )
        answer = MPI.COMM_WORLD.bcast(offer, root=0)
        if ours:
            MPI.Finalize()
    finally:
        watchdog.cancel()
    return answer


def give_up(rank: int, timeout: float) -> None:
    """End the process from the watchdog's thread."""
    print(
        f"error: rank {rank} on {socket.gethostname()}: MPI did not start within {timeout:.0f} s: some ranks have not "
        "started, or the MPI library that mpi4py loads is not the one of this mpirun (set MPI4PY_LIBMPI to its "
        "libmpi.so).",
        file=sys.stderr,
        flush=True,
    )
    os._exit(BLOCKED)
