"""Lightning's DDP strategy, with the launcher's true numbers."""

from __future__ import annotations

import inspect
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.nn.parallel import DistributedDataParallel

from lightning_app.errors import Stopped
from lightning_app.failure.handler import JOB
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.environment import LauncherEnvironment
from lightning_app.rendezvous.local_environment import LocalEnvironment
from lightning_app.trainer.plan import Plan

# DDP's own 25 MB hold all gradients of MobileNetV2, so that none travels before the backward pass ends. Measured by
# lightning_app/bench/ddp_buckets.py, figures in docs/launchers.md.
BUCKET_MB = 2


class RankedDDPStrategy(DDPStrategy):
    """DDP that goes by the launcher's ranks, also where nodes have different numbers of them.

    Lightning multiplies nodes by devices, which is wrong then: shards would silently never be visited
    (lightning/pytorch/strategies/ddp.py, distributed_sampler_kwargs).

    DDP averages gradients over ranks. That the average is the gradient of the global batch, whatever the shards' sizes,
    is the work of the loss: models/classifier.py, training_step.
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
        """Hold the ports of processes that Lightning will start here, so that a taken one is told before all else.

        Raises:
            UsageError: the user's MASTER_PORT is taken.
        """
        environment = self.cluster_environment
        if isinstance(environment, LocalEnvironment) and not environment.creates_processes_externally:
            environment.hold_ports()

    def setup_distributed(self) -> None:
        """Tie the ranks together before anything can wait for one that is no more."""
        self.set_world_ranks()
        environment = self.cluster_environment
        assert environment is not None
        # Lightning's launcher does so too, but only in fit, and the ranks of a run have to meet before.
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        JOB.adopt(getattr(self.launcher, "procs", []))
        if isinstance(environment, LocalEnvironment):
            JOB.watch_peers(environment.rendezvous(JOB.check_children), self.global_rank, self.local_rank)
        elif isinstance(environment, LauncherEnvironment):
            JOB.watch_peers(environment.rendezvous(), self.global_rank, self.local_rank)
        super().setup_distributed()

    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)
        if isinstance(exception, Stopped):
            JOB.end_in_order()  # now: the launcher may end us for the exit code of a quicker rank
        elif isinstance(exception, Exception) and JOB.monitor:
            JOB.report(exception)


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
