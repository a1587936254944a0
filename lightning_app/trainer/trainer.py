"""Lightning's Trainer, configured by one flag."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

from lightning_app.errors import UsageError
from lightning_app.launchers.detection import this_launch
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.environment import cluster_environment
from lightning_app.trainer.machine import Machine, this_machine
from lightning_app.trainer.plan import Plan, StrategyName, plan_run
from lightning_app.trainer.strategy import ddp_strategy
from lightning_app.trainer.threads import set_threads

log = logging.getLogger(__name__)


class Trainer(pl.Trainer):
    """A Trainer whose `strategy` decides everything.

    Args:
        strategy: `cpu` is one process, `gpu` one GPU, `ddp` one process per GPU of this machine, or `devices`
            processes on its CPU, or the ranks that mpirun, srun or torchrun started; `auto` chooses among them. A
            Lightning Strategy is passed through as it is.
        devices: number of processes for `ddp`; null, auto and -1 mean one per visible GPU, or as many as the launcher
            started.
        precision: as in Lightning; null is the fastest that the device supports in hardware.
        kwargs: as in Lightning.
    """

    def __init__(
        self,
        *,
        strategy: StrategyName | Strategy = "auto",
        devices: int | Literal["auto"] | None = None,
        precision: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["use_distributed_sampler"] = False  # our shards already account for the rank
        devices = None if devices == "auto" or devices == -1 else devices
        if isinstance(strategy, Strategy):
            super().__init__(strategy=strategy, devices=devices or "auto", precision=precision, **kwargs)  # type: ignore[arg-type]  # Lightning checks the name
            return
        accelerator, launch = kwargs.pop("accelerator", "auto"), this_launch()
        plan = plan_run(strategy, devices, precision, machine_with(accelerator), launch)
        check_accelerator(accelerator, plan.accelerator)
        check_can_start_ranks(plan, launch)
        tell(plan)
        set_threads(plan.threads)
        if plan.accelerator == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 for operations that stay in fp32
            kwargs["benchmark"] = True if kwargs.get("benchmark") is None else kwargs["benchmark"]
        kwargs |= strategy_and_plugins(plan, launch, kwargs)
        if launch.external:
            # Not known yet, so a guess for Lightning's log; right if all nodes have equally many ranks.
            kwargs["num_nodes"] = launch.num_nodes or -(-launch.world_size // launch.local_world_size)
        super().__init__(accelerator=plan.accelerator, devices=plan.devices, precision=plan.precision, **kwargs)  # type: ignore[arg-type]  # as above


def machine_with(accelerator: str) -> Machine:
    """This machine; for Lightning's `cpu`, without its GPUs."""
    machine = this_machine()
    return replace(machine, gpus=()) if accelerator == "cpu" else machine


def check_accelerator(asked_for: str, planned: str) -> None:
    """Raise a UsageError if --trainer.accelerator and --trainer.strategy disagree."""
    if asked_for not in ("auto", planned) and (asked_for, planned) != ("gpu", "cuda"):
        raise UsageError(
            f"--trainer.accelerator is {asked_for}, but --trainer.strategy leads to {planned} here; expected auto, or "
            "one that agrees. --trainer.strategy alone decides: leave --trainer.accelerator out."
        )


def check_can_start_ranks(plan: Plan, launch: Launch) -> None:
    """Raise a UsageError in a notebook if Lightning would start ranks: they would run its command line again.

    Lightning's message recommends ddp_notebook, which is not one of our strategies.
    """
    if plan.strategy == "ddp" and plan.devices > 1 and not launch.external and hasattr(sys, "ps1"):
        raise UsageError(
            f"a notebook, or an interactive Python, cannot start {plan.devices} ranks: each would run its command line "
            "again. `from lightning_app import fit` starts them in separate processes; or choose trainer.strategy cpu "
            "or gpu."
        )


def tell(plan: Plan) -> None:
    """Log the plan and its warnings."""
    for reason in plan.reasons:
        log.info(reason)
    for warning in plan.warnings:
        log.warning(warning)


def strategy_and_plugins(plan: Plan, launch: Launch, options: dict[str, Any]) -> dict[str, Any]:
    """Lightning's options of these names, given the Trainer's: a ddp strategy contains the cluster environment."""
    wanted, plugins = take_environment(as_list(options.get("plugins")))
    environment = cluster_environment(launch, wanted)
    if plan.strategy == "ddp":
        accumulated = options.get("accumulate_grad_batches") or 1
        return {"strategy": ddp_strategy(plan, launch, environment, accumulated), "plugins": plugins}
    return {"strategy": SingleDeviceStrategy(plan.device), "plugins": [*plugins, environment]}


def take_environment(plugins: list[Any]) -> tuple[ClusterEnvironment | None, list[Any]]:
    """The user's cluster environment, and the other plugins: Lightning wants the former inside a ddp strategy."""
    environments = [plugin for plugin in plugins if isinstance(plugin, ClusterEnvironment)]
    if len(environments) > 1:
        raise UsageError(f"--trainer.plugins has {len(environments)} cluster environments; expected at most one.")
    others = [plugin for plugin in plugins if not isinstance(plugin, ClusterEnvironment)]
    return (environments[0] if environments else None), others


def as_list(value: Any) -> list[Any]:
    """None, one thing or several, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
