"""What may go wrong in the exchange through MPI; tests/cluster/test_hosts.py runs it for real.

A fake package `mpi4py` simulates an MPI that blocks, or one that is not mpirun's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dead_pipes import dead_pipe, full_pipe

from lightning_app.rendezvous.mpi_broadcast import BLOCKED

REPOSITORY = Path(__file__).parents[3]
EXCHANGE = """
import threading
from lightning_app.rendezvous.mpi_broadcast import exchange

print(exchange("hello", 1, 4, {timeout}))
for thread in set(threading.enumerate()) - {{threading.main_thread()}}:
    thread.join(10)
    assert not thread.is_alive(), "the watchdog outlives the exchange"
"""
PACKAGE = "class rc: initialize = finalize = True\n"
BLOCKING = """
import threading
def Is_initialized(): return False
def Init(): threading.Event().wait()
"""
ALONE = """
def Is_initialized(): return False
def Init(): pass
def Get_library_version(): return 'Some MPI 1.2\\nmore'
class COMM_WORLD:
    Get_rank = Get_size = staticmethod(lambda: 0)
"""
RUNNING = """
def Is_initialized(): return True
class COMM_WORLD:
    Get_rank, Get_size = staticmethod(lambda: 1), staticmethod(lambda: 4)
    bcast = staticmethod(lambda offer, root: offer)
"""


def run(
    folder: Path, mpi: str | None, timeout: float = 60, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """An exchange with a fake mpi4py, or without one."""
    package = folder / "mpi4py"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE if mpi else "raise ImportError('not installed')")
    (package / "MPI.py").write_text(mpi or "")
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-c", EXCHANGE.format(timeout=timeout)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=240,
    )


def test_an_mpi_that_blocks_ends_the_process_with_its_rank_and_host(tmp_path: Path) -> None:
    done = run(tmp_path, BLOCKING, timeout=0.5)
    assert done.returncode == BLOCKED
    assert done.stderr.startswith(f"error: rank 1 on {os.uname().nodename}: MPI did not start within")


@pytest.mark.slow
@pytest.mark.parametrize("stderr", [dead_pipe, full_pipe])
def test_it_ends_too_where_nobody_reads_what_it_says(stderr: Callable[[], int], tmp_path: Path) -> None:
    assert run(tmp_path, BLOCKING, timeout=0.5, stderr=stderr()).returncode == BLOCKED


def test_another_mpi_than_mpirun_s_is_an_error_that_names_both_counts(tmp_path: Path) -> None:
    done = run(tmp_path, ALONE)
    assert done.returncode == 1
    assert "mpirun says rank 1 of 4, but the MPI library that mpi4py loaded says rank 0 of 0" in done.stderr
    assert "(Some MPI 1.2). Set MPI4PY_LIBMPI" in done.stderr


def test_without_mpi4py_the_error_says_what_to_install_or_set(tmp_path: Path) -> None:
    done = run(tmp_path, None)
    assert done.returncode == 1
    assert "pip install 'laptop-to-cluster[mpi]'), or set MASTER_ADDR" in done.stderr


def test_an_mpi_that_runs_already_is_used_and_left_running(tmp_path: Path) -> None:
    done = run(tmp_path, RUNNING)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
