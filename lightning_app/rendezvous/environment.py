"""The cluster environment: tells Lightning, or any Trainer, which rank this process is and where to meet.

    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", plugins=[LauncherEnvironment()])

Unlike Lightning's MPIEnvironment, it reads the ranks from the launcher's variables, so it starts MPI only if several
nodes under mpirun need it to exchange an address. Node ranks follow the ranks (rank 0 is on node 0), uneven ranks per
node work, MASTER_ADDR and MASTER_PORT are honoured, rank 0 holds its port from the start, missing ranks are named after
a timeout, and settings that contradict the launcher are errors.
"""

from __future__ import annotations

import logging
from typing import ClassVar

from lightning.fabric.plugins.environments import ClusterEnvironment

from lightning_app.errors import UsageError
from lightning_app.launchers.detection import this_launch
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.addresses import interface_address
from lightning_app.rendezvous.local_environment import LocalEnvironment
from lightning_app.rendezvous.rendezvous import Rendezvous, rendezvous, route_gradients, use_held_store
from lightning_app.rendezvous.waiting import connect_timeout

log = logging.getLogger(__name__)


class LauncherEnvironment(ClusterEnvironment):
    """Ranks from Open MPI, MPICH, Intel MPI, SLURM or torchrun; a rendezvous without races.

    Args:
        interface: network interface for mpirun's rendezvous and for gradients, for example ib0; null lets the system's
            routes decide.
        timeout: seconds to wait for the other ranks; null is LIGHTNING_APP_CONNECT_TIMEOUT, or else 300.

    Raises:
        UsageError: the launcher's variables are inconsistent.
    """

    # A process belongs to one job, and a job has one rendezvous, even if a program has several Trainers.
    _rendezvous: ClassVar[Rendezvous | None] = None

    def __init__(self, interface: str | None = None, timeout: float | None = None) -> None:
        # Neither is checked here: jsonargparse would hide the error among those of other plugins.
        self.launch: Launch = this_launch()
        self.interface, self._timeout = interface, timeout

    @property
    def timeout(self) -> float:
        """Seconds to wait for the other ranks."""
        return connect_timeout() if self._timeout is None else self._timeout

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @staticmethod
    def detect() -> bool:
        """Whether a launcher outside Python started this process."""
        return this_launch().external

    @property
    def main_address(self) -> str:
        return self.rendezvous().address

    @property
    def main_port(self) -> int:
        return self.rendezvous().port

    def world_size(self) -> int:
        return self.launch.world_size

    def set_world_size(self, size: int) -> None:
        """The launcher decides. A strategy that counts differently would skip samples.

        Lightning's strategies call this when the Trainer is created, with num_nodes times devices.

        Raises:
            UsageError: the strategy counts differently.
        """
        launch = self.launch
        if size != launch.world_size:
            raise UsageError(
                f"num_nodes times devices is {size}, but {self._started()}; set devices to {launch.local_world_size} "
                f"and num_nodes to {launch.num_nodes or 'the number of nodes'}. If nodes have different numbers of "
                "ranks, use strategy=lightning_app.trainer.strategy.RankedDDPStrategy()."
            )

    def global_rank(self) -> int:
        return self.launch.global_rank

    def set_global_rank(self, rank: int) -> None:
        """Does nothing: the launcher has decided."""

    def local_rank(self) -> int:
        return self.launch.local_rank

    def node_rank(self) -> int:
        if self.launch.node_rank is not None:
            return self.launch.node_rank
        return self.rendezvous().nodes[self.launch.global_rank]

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Called before any rank waits for the others.

        Raises:
            UsageError: devices or nodes contradict the launcher, or our options are invalid.
        """
        launch = self.launch
        if self.timeout <= 0:
            raise UsageError(f"timeout is {self.timeout}; expected a number of seconds above 0.")
        if self.interface:
            interface_address(self.interface)
        if num_devices != launch.local_world_size:
            raise UsageError(
                f"devices is {num_devices}, but {self._started()}; set devices to {launch.local_world_size}, or start "
                f"{num_devices} ranks per node."
            )
        if num_nodes != launch.num_nodes and (launch.num_nodes is not None or num_nodes == 1):
            nodes = launch.num_nodes or "the number of nodes"
            raise UsageError(f"num_nodes is {num_nodes}, but {self._started()}; set num_nodes to {nodes}.")

    def _started(self) -> str:
        """What the launcher did, for messages."""
        launch = self.launch
        if not launch.external:
            return "no launcher (mpirun, srun, torchrun) started this process, so it is the only one"
        nodes = "" if launch.num_nodes is None else f" on {launch.num_nodes} node{'s' if launch.num_nodes > 1 else ''}"
        here = f"{launch.local_world_size} of them on this one"
        return f"{launch.launcher} started {launch.world_size} ranks{nodes}, {here}"

    def teardown(self) -> None:
        """The store stays open: the test after fit creates new groups through it."""

    def rendezvous(self) -> Rendezvous:
        """Find the other ranks, once.

        Raises:
            Missing: some ranks did not connect in time; the message names them.
        """
        if LauncherEnvironment._rendezvous is None:
            LauncherEnvironment._rendezvous = found = rendezvous(self.launch, self.interface, self.timeout)
            use_held_store()
            route_gradients(found.reached, self.interface)
        return LauncherEnvironment._rendezvous


def cluster_environment(launch: Launch, wanted: ClusterEnvironment | None = None) -> ClusterEnvironment:
    """The environment of a run. Always set, because Lightning's own search starts MPI in every process.

    Args:
        launch: who started this process.
        wanted: the user's environment, from the Trainer's plugins.
    """
    if isinstance(wanted, LauncherEnvironment) and not launch.external:
        log.info("plugins: LauncherEnvironment has no launcher to ask here; ignoring it")
        return LocalEnvironment()
    return wanted or (LauncherEnvironment() if launch.external else LocalEnvironment())
