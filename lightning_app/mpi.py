"""The one thing that MPI is started for: telling all nodes an address. Then it is ended again."""

from __future__ import annotations

import os
import sys
import threading

from lightning_app.errors import UsageError

BLOCKED = 3  # exit code when MPI itself does not come back


def exchange(offer: str, timeout: float) -> str:
    """Rank 0's `offer`, on every rank.

    MPI is ended at once where it wasn't running before: its exit hook would hold a failed job for seconds.

    Args:
        offer: a line of text, used on rank 0.
        timeout: seconds after which the process ends, for MPI_Init cannot be interrupted.

    Raises:
        UsageError: mpi4py is not installed.
    """
    try:
        import mpi4py
    except ImportError as error:
        raise UsageError(
            "several nodes under mpirun need mpi4py to find each other, and it is not installed. Install it (pip "
            "install 'laptop-to-cluster[mpi]'), or set MASTER_ADDR to rank 0's address (mpirun -x MASTER_ADDR=...)."
        ) from error
    mpi4py.rc.initialize = mpi4py.rc.finalize = False
    watchdog = threading.Timer(timeout, give_up, [timeout])
    watchdog.daemon = True
    watchdog.start()
    try:
        from mpi4py import MPI

        ours = not MPI.Is_initialized()
        if ours:
            MPI.Init()
        answer = MPI.COMM_WORLD.bcast(offer, root=0)
        if ours:
            MPI.Finalize()
    finally:
        watchdog.cancel()
    return answer


def give_up(timeout: float) -> None:
    """End the process from the watchdog's thread."""
    print(
        f"error: MPI did not start within {timeout:.0f} s: some ranks have not started, or the MPI library that "
        "mpi4py loads is not the one of this mpirun (set MPI4PY_LIBMPI to its libmpi.so).",
        file=sys.stderr,
        flush=True,
    )
    os._exit(BLOCKED)
