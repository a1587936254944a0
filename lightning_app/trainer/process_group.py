"""A process group for programs of ours without a Trainer: the launcher's ranks, laid out like a fit's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from lightning_app.rendezvous.environment import LauncherEnvironment
from lightning_app.trainer.machine import this_machine
from lightning_app.trainer.plan import Plan, plan_run
from lightning_app.trainer.threads import set_threads


@contextmanager
def process_group() -> Iterator[Plan]:
    """Inside it, torch.distributed works; yields devices, threads and precision."""
    environment = LauncherEnvironment()
    plan = plan_run("ddp", None, None, this_machine(), environment.launch)
    set_threads(plan.threads)
    os.environ.update(MASTER_ADDR=environment.main_address, MASTER_PORT=str(environment.main_port))
    distributed.init_process_group(plan.backend, rank=environment.global_rank(), world_size=environment.world_size())
    yield plan
    # Not after an exception: other ranks may be waiting in a collective, and this would wait for them.
    distributed.destroy_process_group()
