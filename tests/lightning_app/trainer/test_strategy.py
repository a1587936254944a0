"""Whose ranks count in a run."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.environment import LauncherEnvironment
from lightning_app.trainer import strategy as module
from lightning_app.trainer.strategy import RankedDDPStrategy
from lightning_app.trainer.trainer import Trainer, take_environment


def test_an_environment_is_taken_out_of_the_plugins() -> None:
    environment, other = LightningEnvironment(), object()
    assert take_environment([other, environment]) == (environment, [other])
    assert take_environment([]) == (None, [])
    with pytest.raises(UsageError, match="2 cluster environments; expected at most one"):
        take_environment([environment, environment])


def test_a_trainer_of_one_process_takes_the_user_s_environment() -> None:
    environment = SLURMEnvironment()
    trainer = Trainer(strategy="cpu", plugins=environment, logger=False, enable_checkpointing=False)
    assert trainer._accelerator_connector.cluster_environment is environment


def test_ranks_cannot_be_started_from_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", "In [1]: ", raising=False)  # as ipykernel sets it
    with pytest.raises(UsageError, match=r"notebook.* cannot start 2 ranks.*`from lightning_app import fit`"):
        Trainer(strategy="ddp", devices=2, logger=False, enable_checkpointing=False)
    Trainer(strategy="cpu", logger=False, enable_checkpointing=False)


def test_samplers_go_by_the_launcher_s_world_size(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = LauncherEnvironment()
    monkeypatch.setattr(environment, "launch", Launch("openmpi", 3, 2, 0, 1, None, None))
    strategy = RankedDDPStrategy(cluster_environment=environment)
    strategy.set_world_ranks()  # which has to leave the environment's numbers alone
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 3, "rank": 2}
    assert rank_zero_only.rank == 2  # type: ignore[attr-defined]  # else all ranks would log as rank 0


def test_ranks_know_each_other_before_torch_can_wait_for_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []
    job = SimpleNamespace(adopt=happened.append, watch_peers=lambda *watched: happened.append(watched))
    monkeypatch.setattr(module, "JOB", job)
    monkeypatch.setattr(DDPStrategy, "setup_distributed", lambda strategy: happened.append("connected"))
    environment = LauncherEnvironment()
    monkeypatch.setattr(environment, "launch", Launch("openmpi", 3, 2, 1, 2, None, None))
    monkeypatch.setattr(environment, "rendezvous", lambda: "rendezvous")
    monkeypatch.setattr(environment, "validate_settings", lambda **settings: None)
    strategy = RankedDDPStrategy(cluster_environment=environment, parallel_devices=[torch.device("cpu")])
    strategy._launcher = SimpleNamespace(procs=["a child"])  # type: ignore[assignment]
    strategy.setup_distributed()
    assert happened == [["a child"], ("rendezvous", 2, 1), "connected"]
