"""Lightning's DDP strategy, with the launcher's actual ranks."""

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

# DDP's default of 25 MB holds all gradients of MobileNetV2, so none is sent before the backward pass ends. Measured by
# lightning_app/bench/ddp_buckets.py; figures in docs/launchers.md.
BUCKET_MB = 2


class RankedDDPStrategy(DDPStrategy):
    """DDP that uses the launcher's ranks, even if nodes have different numbers of them.

    Lightning multiplies nodes by devices, which is then wrong: some shards would silently never be visited
    (lightning/pytorch/strategies/ddp.py, distributed_sampler_kwargs).

    DDP averages gradients over ranks. The loss (models/classifier.py, training_step) makes that average the gradient of
    the global batch, whatever the shards' sizes.
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
        """Hold the ports of processes that Lightning will start here, so that a taken port is reported first.

        Raises:
            UsageError: the user's MASTER_PORT is taken.
        """
        environment = self.cluster_environment
        if isinstance(environment, LocalEnvironment) and not environment.creates_processes_externally:
            environment.hold_ports()

    def setup_distributed(self) -> None:
        """Connect the ranks before anything can wait for a dead one."""
        self.set_world_ranks()
        environment = self.cluster_environment
        assert environment is not None
        # Lightning's launcher does this too, but only in fit, and the ranks of a run have to connect earlier.
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
            JOB.end_in_order()  # now: the launcher may kill us because of the exit code of a faster rank
        elif isinstance(exception, Exception) and JOB.monitor:
            JOB.report(exception)


def ddp_strategy(
    plan: Plan, launch: Launch, environment: ClusterEnvironment, accumulated: int = 1
) -> RankedDDPStrategy:
    """The strategy for a plan, if each step accumulates the gradients of so many batches."""
    return RankedDDPStrategy(
        cluster_environment=environment,
        # Lightning only looks at our own entry: the GPU that SLURM bound to us is number 0 on every rank.
        parallel_devices=[plan.device] * plan.devices if launch.external else None,
        process_group_backend=plan.backend,
        gradient_as_bucket_view=True,
        bucket_cap_mb=BUCKET_MB,
        # If some batches exchange nothing, a static graph fails an assertion in torch (pytorch#143580).
        static_graph=accumulated == 1,
        **no_buffer_broadcast(),
    )


def no_buffer_broadcast() -> dict[str, Any]:
    """Batch statistics stay per rank in training; callbacks.batch_norm averages them before evaluation.

    Broadcasting them in every forward pass, including evaluation's, would hang if ranks have different numbers of
    batches.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    # torch 2.13 renamed the option.
    return {"forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers": False}
