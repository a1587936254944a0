"""What one flag hands to Lightning."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import ALONE
from lightning_app.trainer import trainer as trainer_module
from lightning_app.trainer.machine import Machine, this_machine
from lightning_app.trainer.plan import plan_run
from lightning_app.trainer.strategy import ddp_strategy
from lightning_app.trainer.threads import set_threads
from lightning_app.trainer.trainer import Trainer, check_accelerator, strategy_and_plugins

QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the number of threads back."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_plan_reaches_lightning_and_each_choice_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "this_machine", lambda: Machine(cores=3, cpu_bf16=True))
    with caplog.at_level(logging.INFO):
        trainer = Trainer(strategy="cpu", **QUIET)
    plan = plan_run("cpu", None, None, Machine(cores=3, cpu_bf16=True), ALONE)
    assert isinstance(trainer.strategy, SingleDeviceStrategy)
    assert (trainer.precision, trainer.world_size) == ("bf16-mixed", 1)
    assert [reason for reason in plan.reasons if reason not in caplog.messages] == []
    assert torch.get_num_threads() == 3


def test_a_strategy_of_the_user_s_comes_with_its_devices_and_precision() -> None:
    given = SingleDeviceStrategy(torch.device("cpu"))
    trainer = Trainer(strategy=given, precision="64-true", **QUIET)
    assert trainer.strategy is given
    assert trainer.precision == "64-true"
    assert trainer.num_devices == 1


@pytest.mark.usefixtures("threads")
def test_without_a_strategy_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "this_machine", lambda: Machine(cores=1, cpu_bf16=False))
    assert isinstance(Trainer(**QUIET).strategy, SingleDeviceStrategy)


@pytest.mark.parametrize(("name", "beside"), [("cpu", True), ("ddp", False)])
def test_the_users_plugins_reach_lightning_and_the_environment_once(name: Any, beside: bool) -> None:
    """A ddp strategy contains the environment; else it is a plugin."""
    environment, other = LightningEnvironment(), object()
    plan = plan_run(name, 2 if name == "ddp" else None, None, Machine(cores=2, cpu_bf16=False), ALONE)
    found = strategy_and_plugins(plan, ALONE, {"plugins": [other, environment]})
    assert found.keys() == {"strategy", "plugins"}
    assert found["plugins"] == [other, *([environment] if beside else [])]
    assert beside or found["strategy"].cluster_environment is environment


@pytest.mark.usefixtures("threads")
def test_threads_are_those_of_this_process_and_of_those_it_starts() -> None:
    set_threads(3)
    assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")


@pytest.mark.parametrize(
    ("asked_for", "planned"), [("auto", "cuda"), ("cpu", "cpu"), ("gpu", "cuda"), ("cuda", "cuda")]
)
def test_an_accelerator_that_agrees_is_taken(asked_for: str, planned: str) -> None:
    check_accelerator(asked_for, planned)


@pytest.mark.parametrize(("asked_for", "planned"), [("gpu", "cpu"), ("cpu", "cuda"), ("tpu", "cpu")])
def test_an_accelerator_that_disagrees_is_refused_with_both(asked_for: str, planned: str) -> None:
    with pytest.raises(UsageError, match=f"accelerator is {asked_for}, but .* leads to {planned} here"):
        check_accelerator(asked_for, planned)


def test_ddp_shares_its_gradients_with_their_buckets() -> None:
    plan = plan_run("ddp", 2, None, Machine(cores=2, cpu_bf16=False), ALONE)
    strategy = ddp_strategy(plan, ALONE, LightningEnvironment())
    assert strategy._ddp_kwargs["gradient_as_bucket_view"] is True


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("", 0), ("gpu:a100:2", 0)])
def test_gpus_that_slurm_gave_are_known_where_it_counts_them(
    said: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", said)
    assert this_machine().slurm_gpus == expected
