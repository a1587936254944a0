"""Environments and strategies of a run: whose ranks count."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.environment import LauncherEnvironment
from lightning_app.trainer.strategy import LocalEnvironment, RankedDDPStrategy, cluster_environment
from lightning_app.trainer.trainer import Trainer, take_environment

ALONE = Launch("none", 1, 0, 0, 1, 0, 1)
RANK = Launch("openmpi", 4, 3, 3, 4, 0, 1)
LOCAL_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "TORCHELASTIC_USE_AGENT_STORE")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOCAL_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_parent_of_local_processes_holds_their_port_from_the_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = LocalEnvironment()
    port = parent.main_port
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("", port))
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Lightning sets it for a child
    assert LocalEnvironment().main_port == port


def test_a_port_that_the_user_sets_is_used_for_local_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MASTER_PORT", str(port))
    assert LocalEnvironment().main_port == port


def test_the_environment_follows_from_the_launcher_unless_the_user_has_one() -> None:
    assert type(cluster_environment(ALONE)) is LocalEnvironment
    assert type(cluster_environment(RANK)) is LauncherEnvironment
    own = SLURMEnvironment()
    assert cluster_environment(RANK, own) is own
    assert cluster_environment(ALONE, own) is own


def test_the_plugin_in_a_config_does_no_harm_without_a_launcher() -> None:
    assert type(cluster_environment(ALONE, LauncherEnvironment())) is LocalEnvironment


def test_an_environment_is_taken_out_of_the_plugins() -> None:
    environment, other = LightningEnvironment(), object()
    assert take_environment([other, environment]) == (environment, [other])
    assert take_environment([]) == (None, [])
    with pytest.raises(UsageError, match="2 cluster environments; expected one at most"):
        take_environment([environment, environment])


def test_a_trainer_of_one_process_takes_the_user_s_environment() -> None:
    environment = SLURMEnvironment()
    trainer = Trainer(strategy="cpu", plugins=environment, logger=False, enable_checkpointing=False)
    assert trainer._accelerator_connector.cluster_environment is environment


def test_samplers_go_by_the_launcher_s_world_size(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = LauncherEnvironment()
    monkeypatch.setattr(environment, "launch", Launch("openmpi", 3, 2, 0, 1, None, None))
    strategy = RankedDDPStrategy(cluster_environment=environment)
    strategy.set_world_ranks()  # which has to leave the environment's numbers alone
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 3, "rank": 2}
