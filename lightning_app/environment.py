"""The cluster environment: tells Lightning, or anybody's Trainer, who this process is and where to meet.

    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", plugins=[LauncherEnvironment()])

Against Lightning's MPIEnvironment: the ranks come from the launcher's variables, so MPI is not started unless
several nodes under mpirun need it to tell each other an address; node ranks follow the ranks (rank 0 is on
node 0), uneven ranks per node are right, MASTER_ADDR and MASTER_PORT are honoured, rank 0 holds its port from
the first moment, missing ranks are named after a timeout, and settings that contradict the launcher are errors.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lightning.fabric.plugins.environments import ClusterEnvironment

from lightning_app.addresses import (
    interface_address,
    interface_of,
    node_identity,
    outgoing_address,
    slurm_first_host,
)
from lightning_app.errors import UsageError
from lightning_app.launch import Launch, this_launch
from lightning_app.mpi import exchange
from lightning_app.rendezvous import answer_the_roll, call_the_roll, candidate_ports, connect_timeout, listen
from lightning_app.token import job_token

if TYPE_CHECKING:
    from torch.distributed import TCPStore

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Meeting:
    """What a rank knows after the roll call.

    Attributes:
        address, port: where rank 0 holds the store.
        nodes: the node of each rank, by an identity that only tells nodes apart.
    """

    address: str
    port: int
    nodes: list[str]

    def node_rank(self, rank: int) -> int:
        """Nodes are numbered as their lowest ranks are: rank 0 is on node 0."""
        return list(dict.fromkeys(self.nodes)).index(self.nodes[rank])


class LauncherEnvironment(ClusterEnvironment):
    """Ranks from Open MPI, MPICH, Intel MPI, SLURM or torchrun; a rendezvous without a race.

    Args:
        interface: network interface to meet on and to reduce gradients over, for example ib0; null lets the
            system's routes decide.
        timeout: seconds to wait for the other ranks; null is LIGHTNING_APP_CONNECT_TIMEOUT, or else 60.

    Raises:
        UsageError: the launcher's variables make no sense.
    """

    def __init__(self, interface: str | None = None, timeout: float | None = None) -> None:
        self.launch: Launch = this_launch()
        self.interface, self.timeout = interface, connect_timeout() if timeout is None else timeout
        self._store: TCPStore | None = None
        self._meeting: Meeting | None = None

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @staticmethod
    def detect() -> bool:
        """Whether a launcher outside of Python started this process."""
        return this_launch().external

    @property
    def main_address(self) -> str:
        return self.meet().address

    @property
    def main_port(self) -> int:
        return self.meet().port

    def world_size(self) -> int:
        return self.launch.world_size

    def set_world_size(self, size: int) -> None:
        """Not ours to set: the launcher has decided."""

    def global_rank(self) -> int:
        return self.launch.global_rank

    def set_global_rank(self, rank: int) -> None:
        """Not ours to set: the launcher has decided."""

    def local_rank(self) -> int:
        return self.launch.local_rank

    def node_rank(self) -> int:
        if self.launch.node_rank is not None:
            return self.launch.node_rank
        return self.meet().node_rank(self.launch.global_rank)

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raise a UsageError where devices and nodes contradict the launcher."""
        launch = self.launch
        if num_devices != launch.local_world_size:
            raise UsageError(
                f"devices is {num_devices}, but {launch.launcher} started {launch.local_world_size} of "
                f"{launch.world_size} ranks on this node; set devices to {launch.local_world_size}, or start "
                f"{num_devices} ranks per node."
            )
        if launch.num_nodes is not None and num_nodes != launch.num_nodes:
            raise UsageError(
                f"num_nodes is {num_nodes}, but {launch.launcher} runs on {launch.num_nodes}; set num_nodes to "
                f"{launch.num_nodes}."
            )

    def teardown(self) -> None:
        """The store stays: the test after fit makes new groups through it."""

    def meet(self) -> Meeting:
        """Find the other ranks, once."""
        if self._meeting is None:
            self._meeting = self._meet()
            use_held_store()
            route_gradients(self._meeting.address, self.interface)
        return self._meeting

    def _meet(self) -> Meeting:
        launch = self.launch
        if launch.launcher == "torchrun":  # its agent holds the store
            return Meeting(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), [])
        if launch.world_size == 1:
            return self._as_rank_zero(LOOPBACK, listen([0]), "alone")
        if launch.num_nodes is None and "MASTER_ADDR" not in os.environ:
            return self._meet_through_mpi()
        address, ports = self._place()
        token = job_token(launch, os.environ)
        if launch.global_rank == 0:
            return self._as_rank_zero(address, listen(ports), token)
        return self._as_other(address, ports, token)

    def _place(self) -> tuple[str, list[int]]:
        """Where rank 0 takes the roll call, as every rank can tell without asking."""
        launch = self.launch
        port = os.environ.get("MASTER_PORT")
        ports = [int(port)] if port else candidate_ports(job_token(launch, os.environ))
        if address := os.environ.get("MASTER_ADDR"):
            return address, ports
        if launch.num_nodes == 1:
            return LOOPBACK, ports
        return slurm_first_host(os.environ), ports

    def _meet_through_mpi(self) -> Meeting:
        """Several nodes under mpirun: MPI tells everybody where rank 0 listens."""
        zero = self.launch.global_rank == 0
        listener = listen([0]) if zero else None
        offer = f"{self._own_address()} {listener.getsockname()[1]} {os.urandom(8).hex()}" if listener else ""
        address, port, token = exchange(offer, self.timeout).split(" ")
        if listener:
            return self._as_rank_zero(address, listener, token)
        return self._as_other(address, [int(port)], token)

    def _own_address(self) -> str:
        if self.interface:
            return interface_address(self.interface)
        own = socket.gethostbyname(socket.gethostname())
        # Debian gives a host's own name 127.0.1.1, which no other node can reach.
        return own if not own.startswith("127.") else (outgoing_address("192.0.2.1") or own)

    def _as_rank_zero(self, address: str, listener: socket.socket, token: str) -> Meeting:
        from torch.distributed import TCPStore

        wait = timedelta(seconds=self.timeout)
        self._store = TCPStore(address, 0, self.launch.world_size, is_master=True, timeout=wait, wait_for_workers=False)
        found: list[str] = []

        def answer(hosts: dict[int, str]) -> str:
            found.append(node_identity())
            found.extend(hosts[rank] for rank in sorted(hosts))
            return json.dumps([self._store.port, found], separators=(",", ":"))  # type: ignore[union-attr]  # set above

        call_the_roll(listener, token, self.launch.world_size, self.timeout, answer)
        return Meeting(address, self._store.port, found)

    def _as_other(self, address: str, ports: list[int], token: str) -> Meeting:
        rank = self.launch.global_rank
        port, nodes = json.loads(answer_the_roll(address, ports, token, rank, self.timeout, node_identity()))
        return Meeting(address, port, nodes)


def use_held_store() -> None:
    """Make torch connect to the store that rank 0 holds, on rank 0 too, instead of opening one of its own.

    These are torchrun's own switches for its agent's store (torch/distributed/rendezvous.py).
    """
    os.environ.setdefault("TORCHELASTIC_USE_AGENT_STORE", "True")
    os.environ.setdefault("TORCHELASTIC_RESTART_COUNT", "0")


def route_gradients(address: str, interface: str | None) -> None:
    """Let gloo and NCCL use the interface on the way to rank 0: gloo would go by the hostname's address."""
    own = outgoing_address(address)
    name = interface or (interface_of(own) if own else None)
    if name:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        if interface:
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
