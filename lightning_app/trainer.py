"""Lightning's Trainer, told everything by one flag."""

from __future__ import annotations

import logging
import os
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from lightning_app.errors import UsageError
from lightning_app.machine import this_machine
from lightning_app.plan import Plan, StrategyName, plan_run

log = logging.getLogger(__name__)


class Trainer(pl.Trainer):
    """A Trainer whose `strategy` says it all.

    Args:
        strategy: `cpu` is one process, `gpu` one GPU, `ddp` one process per GPU of this machine, or `devices`
            processes on its CPU; `auto` chooses among them. A Lightning Strategy is passed through as it is.
        devices: number of processes for `ddp`; null is one per visible GPU.
        precision: as in Lightning; null is the fastest that the device really has.
        kwargs: as in Lightning.
    """

    def __init__(
        self,
        *,
        strategy: StrategyName | Strategy = "auto",
        devices: int | None = None,
        precision: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["use_distributed_sampler"] = False  # our shards already know their rank
        if isinstance(strategy, Strategy):
            super().__init__(strategy=strategy, devices=devices or "auto", precision=precision, **kwargs)  # type: ignore[arg-type]  # Lightning checks the name
            return
        if kwargs.pop("accelerator", "auto") != "auto":
            raise UsageError("--trainer.accelerator is decided by --trainer.strategy; leave it out.")
        plan = plan_run(strategy, devices, precision, this_machine())
        for reason in plan.reasons:
            log.info(reason)
        set_threads(plan.threads)
        if plan.accelerator == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 for what stays in fp32
            kwargs.setdefault("benchmark", True)
        super().__init__(
            strategy=lightning_strategy(plan),
            accelerator=plan.accelerator,
            devices=plan.devices,
            precision=plan.precision,  # type: ignore[arg-type]  # Lightning checks the name
            **kwargs,
        )


def set_threads(threads: int) -> None:
    """Threads of this process, and of the ddp processes it starts (Lightning would divide the cores again)."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def lightning_strategy(plan: Plan) -> Strategy:
    """The Lightning strategy of a plan."""
    if plan.strategy != "ddp":
        return SingleDeviceStrategy(device="cuda:0" if plan.accelerator == "cuda" else "cpu")
    return DDPStrategy(
        process_group_backend="nccl" if plan.accelerator == "cuda" else "gloo",
        gradient_as_bucket_view=True,
        static_graph=True,
        # Batch statistics are per rank while training; they are averaged before evaluation (callbacks.batch_norm).
        broadcast_buffers=False,
    )
