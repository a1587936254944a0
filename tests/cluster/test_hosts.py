"""Two hosts with their own addresses, two ranks on the first and one on the second.

Each host's own name resolves to 127.0.1.1 in its /etc/hosts, and the launchers reach the second host through an agent
that, like ssh, passes on none of the variables.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hosts import NETWORKS, Hosts
from parity import PROGRAM, assert_same
from time_limits import limit

REPOSITORY = Path(__file__).parents[2]
RENDEZVOUS = Path(__file__).with_name("rendezvous_program.py")
LIBMPI = {
    "openmpi5": Path(sys.prefix) / "lib/libmpi.so.40",
    "openmpi4": Path(f"/usr/lib/{platform.machine()}-linux-gnu/libmpi.so.40"),
    "mpich": Path(sys.prefix) / "mpich/lib/libmpi.so.12",
}
TIMEOUT_S = 240

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def mpirun_across(kind: str, mpirun: Sequence[str], hosts: Hosts, **variables: str) -> list[str]:
    """The words of an mpirun for 2 + 1 ranks that hands on variables."""
    if kind == "openmpi5" and " " in sys.prefix:
        pytest.skip(f"Open MPI 5 does not quote its own path for the other host's shell, and {sys.prefix} has a space")
    variables = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "MPI4PY_LIBMPI": str(LIBMPI[kind])} | variables
    placed = ["one:2,two:1", "-np", "3"]
    if kind == "mpich":
        exported = [word for name, value in variables.items() for word in ("-env", name, value)]
        return [*mpirun, "-launcher", "ssh", "-launcher-exec", str(hosts.agent), "-hosts", *placed, *exported]
    exported = [word for name, value in variables.items() for word in ("-x", f"{name}={value}")]
    agent = ["--prtemca", "plm_ssh_agent"] if kind == "openmpi5" else ["--mca", "plm_rsh_agent"]
    # Oversubscribed, Open MPI 5 would put all ranks on the first host.
    words = [word for word in mpirun if word != "--oversubscribe"]
    # Bound, the ranks of both hosts would share the first core of the one machine.
    return [*words, *agent, str(hosts.agent), "--bind-to", "none", "--host", *placed, *exported]


def met(hosts: Hosts, folder: Path, launcher: Sequence[str], *args: str) -> list[dict[str, Any]]:
    """What the three ranks of a meeting wrote, by rank."""
    done = hosts.run("one", *launcher, sys.executable, RENDEZVOUS, folder, *args, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-4000:]
    return read(folder)


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(3)]


def everybody(address: str, interface: str, mpi: bool) -> list[dict[str, Any]]:
    """What three ranks should know."""
    places = [("one", 0), ("one", 0), ("two", 1)]
    common = {"sum": 3.0, "address": address, "gradients": interface, "mpi": mpi}
    return [{"host": host, "node_rank": node} | common for host, node in places]


@pytest.mark.parametrize("kind", ["openmpi5", "openmpi4", "mpich"])
def test_ranks_of_two_hosts_meet_through_mpi_on_the_network_that_is_named(
    kind: str, hosts: Hosts, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    launcher = mpirun_across(kind, request.getfixturevalue(kind), hosts)
    assert met(hosts, tmp_path, launcher, "fast0") == everybody(NETWORKS["fast0"][0], "fast0", mpi=True)


def test_an_address_and_a_port_of_the_user_s_replace_mpi(mpich: list[str], hosts: Hosts, tmp_path: Path) -> None:
    address = NETWORKS["fast0"][0]
    launcher = mpirun_across("mpich", mpich, hosts, MASTER_ADDR=address, MASTER_PORT="29123")
    assert met(hosts, tmp_path, launcher) == everybody(address, "fast0", mpi=False)


def test_a_name_that_is_the_loopback_on_its_own_host_is_a_good_address(
    openmpi5: list[str], hosts: Hosts, tmp_path: Path
) -> None:
    launcher = mpirun_across("openmpi5", openmpi5, hosts, MASTER_ADDR="one")
    assert met(hosts, tmp_path, launcher) == everybody("one", "lan0", mpi=False)


def test_another_mpi_than_mpirun_s_ends_the_job_with_the_way_out(
    mpich: list[str], hosts: Hosts, tmp_path: Path
) -> None:
    launcher = mpirun_across("mpich", mpich, hosts, MPI4PY_LIBMPI=str(LIBMPI["openmpi5"]))
    done = hosts.run("one", *launcher, sys.executable, RENDEZVOUS, tmp_path, timeout=TIMEOUT_S)
    assert done.returncode != 0
    assert "of 3, but the MPI library that mpi4py loaded says rank 0 of 1: it is not mpirun's MPI" in done.stderr


def test_ranks_of_torchrun_on_two_hosts_use_the_network_between_them(hosts: Hosts, tmp_path: Path) -> None:
    # By name: torch would not recognise an address as its own on a host whose name resolves to 127.0.1.1.
    agent = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "one:29511", "--rdzv-id", "tests"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *agent]
    second = subprocess.Popen(
        hosts.command("two", *torchrun, "--nproc-per-node", "1", RENDEZVOUS, tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = hosts.run("one", *torchrun, "--nproc-per-node", "2", RENDEZVOUS, tmp_path, timeout=TIMEOUT_S)
        said = second.communicate(timeout=limit(TIMEOUT_S))[1]
    finally:
        second.kill()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-2000:] + said[-2000:]
    found = read(tmp_path)
    # Which agent is the first is for torchrun to decide.
    assert sorted(each["host"] for each in found) == ["one", "one", "two"]
    assert {(each["sum"], each["gradients"]) for each in found} == {(3.0, "lan0")}


@pytest.mark.parametrize("kind", ["openmpi4", pytest.param("openmpi5", marks=pytest.mark.soak)])
def test_a_training_across_two_hosts_agrees_with_one_process(
    kind: str, hosts: Hosts, serial: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    output = tmp_path / "results.json"
    launcher = mpirun_across(kind, request.getfixturevalue(kind), hosts)
    done = hosts.run("one", *launcher, sys.executable, PROGRAM, output, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same(json.loads(output.read_text()), serial, "openmpi", 3)
