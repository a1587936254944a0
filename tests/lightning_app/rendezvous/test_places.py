"""Where the ranks of a job find rank 0, depending on what started them."""

from __future__ import annotations

from contextlib import closing

import pytest

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous import places
from lightning_app.rendezvous.addresses import LOOPBACK
from lightning_app.rendezvous.places import (
    CANDIDATES,
    candidate_ports,
    derived_place,
    has_agent_store,
    local_place,
    master_port,
    needs_mpi,
    open_local_place,
    open_place,
    place_finder,
    reachable_address,
)
from lightning_app.rendezvous.rendezvous import open_store
from lightning_app.rendezvous.star import Place

ONE_NODE = Launch("openmpi", 4, 3, 3, 4, 0, 1)
MANY_NODES = Launch("openmpi", 3, 2, 0, 1, None, None)
MPICH_MANY_NODES = Launch("hydra", 3, 2, 0, 1, None, None)
SLURM = Launch("slurm", 4, 3, 1, 2, 1, 2)
TORCHRUN = Launch("torchrun", 4, 3, 1, 2, 1, 2)
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "PMIX_NAMESPACE", "TORCHELASTIC_USE_AGENT_STORE", places.LOCAL_VARIABLE)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMIX_SERVER_URI2", "prterun-head-7@0.0;tcp4://127.0.0.1:37761")


def test_ranks_of_one_node_find_rank_0_on_its_loopback_at_ports_of_their_own() -> None:
    place = derived_place(ONE_NODE)
    assert (place.address, place.ports) == (LOOPBACK, candidate_ports(place.token))


def test_tasks_of_slurm_find_rank_0_on_the_first_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "slurm_first_host", lambda environ: "n1")
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


def test_the_candidates_are_the_same_on_every_rank_and_others_for_another_job() -> None:
    assert candidate_ports("openmpi-17") == candidate_ports("openmpi-17")
    assert len({*candidate_ports("openmpi-17"), *candidate_ports("openmpi-18")}) > CANDIDATES


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store like that of torchrun's agent."""
    store = open_store(4, 10)
    monkeypatch.setenv("MASTER_ADDR", LOOPBACK)
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setattr(places, "_keep", store, raising=False)


@pytest.mark.usefixtures("agent")
def test_rank_0_of_torchrun_leaves_its_place_with_the_agent_and_each_restart_a_new_one() -> None:
    zero, other = Launch("torchrun", 2, 0, 0, 2, 0, 1), Launch("torchrun", 2, 1, 1, 2, 0, 1)
    find = place_finder(other, 10)
    assert find() is None
    found = []
    for _ in range(2):
        listener, place = open_place(zero, None, 10)
        found.append(find())
        assert found[-1] == place == Place(LOOPBACK, [listener.getsockname()[1]], place.token)
        listener.close()
    assert found[0].token != found[1].token


def test_without_a_store_of_the_agent_rank_0_of_torchrun_listens_where_the_store_would_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "4321")
    assert not has_agent_store(TORCHRUN)
    assert derived_place(TORCHRUN)[:2] == ("head", [4321])


def test_rank_0_is_reached_by_the_way_to_the_agent_s_store_unless_that_is_the_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "own_address", lambda: "10.0.0.5")
    monkeypatch.setattr(places, "outgoing_address", {"localhost": "127.0.0.1", "head": "10.9.0.7"}.get)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    for master, address in [("localhost", "10.0.0.5"), ("head", "10.9.0.7")]:
        monkeypatch.setenv("MASTER_ADDR", master)
        assert reachable_address(TORCHRUN, None) == address
    assert reachable_address(TORCHRUN, "lo") == "127.0.0.1"
    assert reachable_address(ONE_NODE, None) == LOOPBACK


def test_processes_that_lightning_starts_are_told_by_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.LOCAL_VARIABLE, "")  # restored at the end
    with closing(open_local_place()) as listener:
        place = local_place()
        assert (place.address, place.ports, len(place.token)) == (LOOPBACK, [listener.getsockname()[1]], 16)
