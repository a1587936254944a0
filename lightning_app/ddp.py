"""Lightning's DDP strategy, with the launcher's true numbers."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from lightning_app import failure
from lightning_app.environment import LOOPBACK, LauncherEnvironment, use_held_store
from lightning_app.errors import Stopped
from lightning_app.launch import Launch
from lightning_app.plan import Plan
from lightning_app.rendezvous import connect_timeout

if TYPE_CHECKING:
    from torch.distributed import TCPStore

STORE_TIMEOUT = timedelta(seconds=60)


class LocalEnvironment(LightningEnvironment):
    """Processes that Lightning starts on this machine; the parent holds its port from the first moment."""

    def __init__(self) -> None:
        super().__init__()
        self._store: TCPStore | None = None

    @property
    def main_port(self) -> int:
        if "MASTER_PORT" not in os.environ:
            from torch.distributed import TCPStore

            self._store = TCPStore(LOOPBACK, 0, is_master=True, timeout=STORE_TIMEOUT, wait_for_workers=False)
            os.environ["MASTER_PORT"] = str(self._store.port)
            use_held_store()
        return int(os.environ["MASTER_PORT"])


class RankedDDPStrategy(DDPStrategy):
    """DDP whose samplers go by the world size of the launcher.

    Lightning multiplies nodes by devices, which is wrong when nodes have different numbers of ranks: shards
    would silently never be visited (lightning/pytorch/strategies/ddp.py, distributed_sampler_kwargs).
    """

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def setup_distributed(self) -> None:
        """Tie the ranks together before anything can wait for one that is no more."""
        self.set_world_ranks()
        environment = self.cluster_environment
        assert environment is not None
        failure.Ranks.children = getattr(self.launcher, "procs", [])
        address, port = environment.main_address, environment.main_port
        timeout = getattr(environment, "timeout", connect_timeout())
        failure.attach(self.global_rank, self.local_rank, self.world_size, address, port, timeout)
        super().setup_distributed()

    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)
        if isinstance(exception, Stopped):
            failure.end_in_order()  # now: the launcher may end us for the exit code of a quicker rank
        elif isinstance(exception, Exception) and failure.Ranks.lifeline:
            failure.report(exception)


def cluster_environment(launch: Launch) -> ClusterEnvironment:
    """The environment of a run; always given, for Lightning's own search starts MPI in every process."""
    return LauncherEnvironment() if launch.external else LocalEnvironment()


def ddp_strategy(plan: Plan, launch: Launch) -> RankedDDPStrategy:
    """The strategy of a plan: nccl on GPUs, gloo on CPUs."""
    device = torch.device(plan.accelerator, plan.gpu) if plan.gpu is not None else torch.device("cpu")
    return RankedDDPStrategy(
        cluster_environment=cluster_environment(launch),
        # Only our own entry is ever looked at: the GPU that SLURM bound to us is number 0 on every rank.
        parallel_devices=[device] * plan.devices if launch.external else None,
        process_group_backend="nccl" if plan.accelerator == "cuda" else "gloo",
        gradient_as_bucket_view=True,
        static_graph=True,
        **no_buffer_broadcast(),
    )


def no_buffer_broadcast() -> dict[str, Any]:
    """Batch statistics stay per rank while training; callbacks.batch_norm averages them before evaluation.

    Broadcasting them in every forward, evaluation's too, would hang where ranks have different numbers of batches.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    # torch 2.13 renamed the option.
    return {"forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers": False}
