"""Where a job meets, as each launcher lets its ranks know."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest
import torch

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous import store
from lightning_app.rendezvous.roll_call import Visitor, candidate_ports
from lightning_app.rendezvous.store import (
    LOOPBACK,
    derived_place,
    master_port,
    meet,
    needs_mpi,
    on_nodes,
    open_store,
    reached_by_name,
    route_gradients,
)

ONE_NODE = Launch("openmpi", 4, 3, 3, 4, 0, 1)
MANY_NODES = Launch("openmpi", 3, 2, 0, 1, None, None)
MPICH_MANY_NODES = Launch("hydra", 3, 2, 0, 1, None, None)
SLURM = Launch("slurm", 4, 3, 1, 2, 1, 2)
TORCHRUN = Launch("torchrun", 4, 3, 1, 2, 1, 2)
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "PMIX_NAMESPACE", *INTERFACES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMIX_SERVER_URI2", "prterun-head-7@0.0;tcp4://127.0.0.1:37761")


def test_ranks_of_one_node_meet_on_its_loopback_at_ports_of_their_own() -> None:
    place = derived_place(ONE_NODE)
    assert (place.address, place.ports) == (LOOPBACK, candidate_ports(place.token))


def test_tasks_of_slurm_meet_on_the_first_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "slurm_first_host", lambda environ: "n1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert derived_place(SLURM) == ("n1", candidate_ports("slurm-7-0-0"), "slurm-7-0-0")


@pytest.mark.parametrize("launch", [ONE_NODE, MANY_NODES, MPICH_MANY_NODES])
def test_the_user_s_address_and_port_are_honoured_and_need_no_mpi(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "4321")
    assert not needs_mpi(launch)
    place = derived_place(launch)
    assert (place.address, place.ports) == ("head", [4321])


def test_only_several_nodes_under_mpirun_need_mpi() -> None:
    assert [needs_mpi(launch) for launch in (ONE_NODE, MANY_NODES, MPICH_MANY_NODES, SLURM)] == [
        False,
        True,
        True,
        False,
    ]


def test_mpich_needs_a_port_to_an_address_for_its_jobs_have_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "head")
    with pytest.raises(UsageError, match="set MASTER_PORT too"):
        derived_place(MPICH_MANY_NODES)
    monkeypatch.setenv("PMIX_NAMESPACE", "prterun-head-7@1")
    assert derived_place(MANY_NODES).ports == candidate_ports("openmpi-prterun-head-7@1")


@pytest.mark.parametrize("said", ["", "0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_an_error(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", said)
    with pytest.raises(UsageError, match=f"MASTER_PORT is {said!r}; expected a number from 1 to 65535"):
        master_port()


def test_the_agent_of_torchrun_holds_the_store_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "4321")
    monkeypatch.setattr(store, "own_address", lambda: "10.0.0.5")
    found = meet(TORCHRUN, None, 1)
    assert (found.address, found.port, found.reached) == ("127.0.0.1", 4321, "10.0.0.5")


def test_nodes_are_numbered_as_their_lowest_ranks_are() -> None:
    near, far = Visitor("b", "127.0.0.1"), Visitor("a", "10.0.0.5")
    assert on_nodes("b", {3: far, 1: far, 2: near}, "head") == ([0, 1, 0, 1], "10.0.0.5")


def test_on_one_node_rank_zero_is_reached_where_it_was_told_to_be() -> None:
    assert on_nodes("b", {1: Visitor("b", "127.0.0.1")}, "head") == ([0, 0], "head")


def test_a_name_for_the_loopback_is_no_address_for_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "own_address", lambda: "10.0.0.5")
    assert reached_by_name("localhost", TORCHRUN) == "10.0.0.5"
    assert reached_by_name("localhost", ONE_NODE) == "localhost"


def test_gradients_go_by_the_interface_on_the_way_to_rank_zero() -> None:
    route_gradients("127.0.0.1", None)
    assert [os.environ.get(name) for name in INTERFACES] == ["lo", None]


def test_gradients_go_by_the_interface_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    route_gradients("127.0.0.1", None)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    route_gradients("127.0.0.1", "ib0")
    assert [os.environ[name] for name in INTERFACES] == ["ib0", "ib0"]


def test_a_store_takes_the_port_that_it_is_given_or_says_that_it_is_taken() -> None:
    with closing(socket.create_server(("", 0))) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(UsageError, match=f"MASTER_PORT is {port}, which is taken on"):
            open_store(2, 1, port)
    assert open_store(2, 1, port).port == port


def test_where_there_is_no_port_nobody_is_told_of_one_that_was_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise torch.distributed.DistNetworkError("too many open files")

    monkeypatch.setattr(torch.distributed, "TCPStore", refuse)
    with pytest.raises(UsageError, match=r"no port can be opened on .* to meet at: too many open files"):
        open_store(2, 1)
