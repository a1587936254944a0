"""Lightning's DDP strategy, with the launcher's true numbers."""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.nn.parallel import DistributedDataParallel

from lightning_app.errors import Stopped
from lightning_app.failure import handler
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.environment import LauncherEnvironment
from lightning_app.rendezvous.roll_call import connect_timeout
from lightning_app.rendezvous.store import master_port, open_store, use_held_store
from lightning_app.trainer.plan import Plan

if TYPE_CHECKING:
    from torch.distributed import TCPStore

log = logging.getLogger(__name__)
# DDP's own 25 MB hold all gradients of MobileNetV2, so that none travels before the backward pass ends. Measured by
# lightning_app/bench/ddp_buckets.py, figures in docs/launchers.md.
BUCKET_MB = 2


class LocalEnvironment(LightningEnvironment):
    """Processes that Lightning starts on this machine; the parent holds its port from the first moment."""

    def __init__(self) -> None:
        super().__init__()
        self._store: TCPStore | None = None

    @property
    def main_port(self) -> int:
        if not self.creates_processes_externally and self._store is None:
            self._store = open_store(self.world_size(), connect_timeout(), master_port() or 0)
            os.environ["MASTER_PORT"] = str(self._store.port)
            use_held_store()
        return super().main_port


class RankedDDPStrategy(DDPStrategy):
    """DDP that goes by the launcher's ranks, also where nodes have different numbers of them.

    Lightning multiplies nodes by devices, which is wrong then: shards would silently never be visited
    (lightning/pytorch/strategies/ddp.py, distributed_sampler_kwargs).
    """

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def set_world_ranks(self) -> None:
        if isinstance(self.cluster_environment, LauncherEnvironment):
            rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]  # Lightning's own way
        else:
            super().set_world_ranks()

    def take_port(self) -> None:
        """Hold the port of processes that Lightning will start here, so that a taken one is told before all else.

        Raises:
            UsageError: the user's MASTER_PORT is taken.
        """
        if isinstance(self.cluster_environment, LocalEnvironment):
            self.cluster_environment.main_port  # noqa: B018 - takes it on first use

    def setup_distributed(self) -> None:
        """Tie the ranks together before anything can wait for one that is no more."""
        self.set_world_ranks()
        environment = self.cluster_environment
        assert environment is not None
        # Lightning's launcher does so too, but only in fit, and the ranks of a run have to meet before.
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        handler.Ranks.children = getattr(self.launcher, "procs", [])
        address, port = environment.main_address, environment.main_port
        timeout = getattr(environment, "timeout", connect_timeout())
        handler.attach(self.global_rank, self.local_rank, self.world_size, address, port, timeout)
        super().setup_distributed()

    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)
        if isinstance(exception, Stopped):
            handler.end_in_order()  # now: the launcher may end us for the exit code of a quicker rank
        elif isinstance(exception, Exception) and handler.Ranks.lifeline:
            handler.report(exception)


def cluster_environment(launch: Launch, wanted: ClusterEnvironment | None = None) -> ClusterEnvironment:
    """The environment of a run; always given, for Lightning's own search starts MPI in every process.

    Args:
        launch: who started this process.
        wanted: the user's own, from the Trainer's plugins.
    """
    if isinstance(wanted, LauncherEnvironment) and not launch.external:
        log.info("plugins: LauncherEnvironment has no launcher to ask here; leaving it out")
        return LocalEnvironment()
    return wanted or (LauncherEnvironment() if launch.external else LocalEnvironment())


def ddp_strategy(
    plan: Plan, launch: Launch, environment: ClusterEnvironment, accumulated: int = 1
) -> RankedDDPStrategy:
    """The strategy of a plan.

    Args:
        accumulated: batches whose gradients are added up before a step.
    """
    return RankedDDPStrategy(
        cluster_environment=environment,
        # Only our own entry is ever looked at: the GPU that SLURM bound to us is number 0 on every rank.
        parallel_devices=[plan.device] * plan.devices if launch.external else None,
        process_group_backend=plan.backend,
        gradient_as_bucket_view=True,
        bucket_cap_mb=BUCKET_MB,
        # With batches that exchange nothing, a static graph ends in an assertion of torch's (pytorch#143580).
        static_graph=accumulated == 1,
        **no_buffer_broadcast(),
    )


def no_buffer_broadcast() -> dict[str, Any]:
    """Batch statistics stay per rank while training; callbacks.batch_norm averages them before evaluation.

    Broadcasting them in every forward, evaluation's too, would hang where ranks have different numbers of batches.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    # torch 2.13 renamed the option.
    return {"forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers": False}
