"""What the plugin tells Lightning, and what it refuses."""

from __future__ import annotations

import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous import environment
from lightning_app.rendezvous.environment import LauncherEnvironment, cluster_environment
from lightning_app.rendezvous.local_environment import LocalEnvironment
from lightning_app.rendezvous.rendezvous import Rendezvous
from lightning_app.rendezvous.waiting import TIMEOUT_VARIABLE

ONE_NODE = Launch("openmpi", 4, 3, 3, 4, 0, 1)
TWO_NODES = Launch("slurm", 4, 3, 1, 2, 1, 2)
UNEVEN = Launch("openmpi", 3, 2, 0, 1, None, None)  # 2 + 1 under mpirun: the number of nodes is not known yet
ALONE = Launch("none", 1, 0, 0, 1, 0, 1)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LauncherEnvironment, "_rendezvous", None)
    monkeypatch.delenv(TIMEOUT_VARIABLE, raising=False)


def plugin(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> LauncherEnvironment:
    """The plugin in a process of that launch."""
    monkeypatch.setattr(environment, "this_launch", lambda: launch)
    return LauncherEnvironment()


@pytest.mark.parametrize("launch", [ONE_NODE, TWO_NODES, UNEVEN])
def test_ranks_are_the_launcher_s(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plugin(launch, monkeypatch)
    assert (found.world_size(), found.global_rank(), found.local_rank()) == (
        launch.world_size,
        launch.global_rank,
        launch.local_rank,
    )
    assert found.creates_processes_externally
    assert LauncherEnvironment.detect()


def test_a_process_of_its_own_is_no_launcher_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "this_launch", lambda: ALONE)
    assert not LauncherEnvironment.detect()


def test_a_job_has_one_rendezvous_for_all_plugins_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []

    def rendezvous(launch: Launch, interface: str | None, timeout: float) -> Rendezvous:
        timeouts.append(timeout)
        return Rendezvous("10.0.0.1", 4000, [0, 1, 1], "10.0.0.1")

    monkeypatch.setattr(environment, "rendezvous", rendezvous)
    monkeypatch.setattr(environment, "route_gradients", lambda reached, interface: None)
    for _ in range(2):
        found = plugin(UNEVEN, monkeypatch)
        assert (found.main_address, found.main_port, found.node_rank()) == ("10.0.0.1", 4000, 1)
    assert timeouts == [300]


def test_a_node_that_the_launcher_numbers_needs_no_rendezvous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "rendezvous", None)
    assert plugin(TWO_NODES, monkeypatch).node_rank() == 1


@pytest.mark.parametrize(
    ("launch", "devices", "nodes"), [(ONE_NODE, 4, 1), (TWO_NODES, 2, 2), (UNEVEN, 1, 2), (UNEVEN, 1, 3)]
)
def test_settings_that_fit_the_launcher_are_taken(
    launch: Launch, devices: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(launch, monkeypatch).validate_settings(devices, nodes)


@pytest.mark.parametrize(
    ("launch", "devices", "nodes", "message"),
    [
        (
            ONE_NODE,
            2,
            1,
            "devices is 2, but openmpi started 4 ranks on 1 node, 4 of them on this one; set devices to 4",
        ),
        (ONE_NODE, 4, 2, "num_nodes is 2, but openmpi started 4 ranks on 1 node, .* set num_nodes to 1"),
        (
            TWO_NODES,
            4,
            1,
            "devices is 4, but slurm started 4 ranks on 2 nodes, 2 of them on this one; set devices to 2",
        ),
        (TWO_NODES, 2, 1, "num_nodes is 1, but slurm .* set num_nodes to 2"),
        (UNEVEN, 2, 2, "devices is 2, but openmpi started 3 ranks, 1 of them on this one; set devices to 1"),
        (UNEVEN, 1, 1, "num_nodes is 1, but openmpi .* set num_nodes to the number of nodes"),
        (ALONE, 2, 1, r"devices is 2, but no launcher \(mpirun, srun, torchrun\) started this process"),
    ],
)
def test_settings_that_contradict_the_launcher_are_refused(
    launch: Launch, devices: int, nodes: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=message):
        plugin(launch, monkeypatch).validate_settings(devices, nodes)


def test_a_strategy_that_counts_other_ranks_than_the_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(ONE_NODE, monkeypatch).set_world_size(4)
    with pytest.raises(UsageError, match=r"times devices is 1, but openmpi started 4 ranks .* set devices to 4"):
        plugin(ONE_NODE, monkeypatch).set_world_size(1)
    with pytest.raises(UsageError, match=r"times devices is 4, but openmpi started 3 ranks.*RankedDDPStrategy\(\)"):
        plugin(UNEVEN, monkeypatch).set_world_size(4)


def test_options_that_make_no_sense_are_refused_before_anybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "this_launch", lambda: ONE_NODE)
    with pytest.raises(UsageError, match="interface ib7 is not on"):
        LauncherEnvironment(interface="ib7").validate_settings(4, 1)
    with pytest.raises(UsageError, match="timeout is 0; expected a number of seconds above 0"):
        LauncherEnvironment(timeout=0).validate_settings(4, 1)


def test_the_timeout_is_the_argument_s_or_the_variable_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, "7")
    assert LauncherEnvironment().timeout == 7
    assert LauncherEnvironment(timeout=120).timeout == 120


def test_the_environment_follows_from_the_launcher_unless_the_user_has_one() -> None:
    assert type(cluster_environment(ALONE)) is LocalEnvironment
    assert type(cluster_environment(ONE_NODE)) is LauncherEnvironment
    own = SLURMEnvironment()
    assert cluster_environment(ONE_NODE, own) is own
    assert cluster_environment(ALONE, own) is own


def test_the_plugin_in_a_config_does_no_harm_without_a_launcher() -> None:
    assert type(cluster_environment(ALONE, LauncherEnvironment())) is LocalEnvironment
