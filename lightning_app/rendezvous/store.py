"""Where the ranks of a job meet: from what a launcher says to the address of torch's store."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from lightning_app.errors import UsageError
from lightning_app.launchers.job_id import job_token
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.addresses import (
    interface_address,
    interface_of,
    is_loopback,
    node_identity,
    outgoing_address,
    own_address,
    slurm_first_host,
)
from lightning_app.rendezvous.mpi_broadcast import exchange
from lightning_app.rendezvous.roll_call import Visitor, answer_the_roll, call_the_roll, candidate_ports, listen

if TYPE_CHECKING:
    from torch.distributed import TCPStore

LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """Where rank 0 takes the roll call: the first of the ports that is free there; and the job's token."""

    address: str
    ports: list[int]
    token: str


@dataclass(frozen=True)
class Meeting:
    """What a rank knows after the roll call.

    Attributes:
        address, port: where rank 0 holds the store.
        nodes: the index of each rank's node; nodes are numbered as their lowest ranks are, rank 0's is 0.
        reached: rank 0's address, as other nodes reach it.
        store: on rank 0, which holds it for as long as the process lives.
    """

    address: str
    port: int
    nodes: list[int]
    reached: str
    store: TCPStore | None = None


def meet(launch: Launch, interface: str | None, timeout: float) -> Meeting:
    """Find the other ranks.

    Raises:
        Missing: some did not come within `timeout` seconds.
        UsageError: the user's MASTER_PORT is no port, the interface is none, MPI is missing or another one.
    """
    if launch.launcher == "torchrun":  # its agent holds the store
        address = os.environ["MASTER_ADDR"]
        return Meeting(address, int(os.environ["MASTER_PORT"]), [], reached_by_name(address, launch))
    if launch.global_rank == 0:
        return meet_as_rank_zero(launch, interface, timeout)
    address, ports, token = ask_mpi(launch, timeout) if needs_mpi(launch) else derived_place(launch)
    answer = answer_the_roll(address, ports, token, launch.global_rank, timeout, node_identity())
    return Meeting(address, *json.loads(answer))


def meet_as_rank_zero(launch: Launch, interface: str | None, timeout: float) -> Meeting:
    """Hold the store and take the roll call."""
    # The store first: importing torch takes seconds, in which nobody would be greeted.
    store = open_store(launch.world_size, timeout)
    if launch.world_size == 1:
        return Meeting(LOOPBACK, store.port, [0], LOOPBACK, store)
    listener, place = open_roll_call(launch, interface, timeout)

    def answer(visitors: dict[int, Visitor]) -> str:
        return json.dumps([store.port, *on_nodes(node_identity(), visitors, place.address)], separators=(",", ":"))

    visitors = call_the_roll(listener, place.token, launch.world_size, timeout, answer)
    return Meeting(place.address, store.port, *on_nodes(node_identity(), visitors, place.address), store)


def open_store(world_size: int, timeout: float, port: int = 0) -> TCPStore:
    """Torch's store, on all interfaces, at a port that the kernel picks unless it is given.

    Raises:
        UsageError: the port is taken, or the kernel gave none.
    """
    from torch.distributed import DistNetworkError, TCPStore

    wait = timedelta(seconds=timeout)
    try:
        # The address is for our own connection.
        return TCPStore(LOOPBACK, port, world_size, is_master=True, timeout=wait, wait_for_workers=False)
    except DistNetworkError as error:
        host = socket.gethostname()
        if not port:
            raise UsageError(f"no port can be opened on {host} for the ranks to meet at: {error}") from error
        raise UsageError(f"MASTER_PORT is {port}, which is taken on {host}; leave it unset.") from error


def open_roll_call(launch: Launch, interface: str | None, timeout: float) -> tuple[socket.socket, Place]:
    """As rank 0, listen where the others will look; where they could not know it, MPI tells them."""
    if not needs_mpi(launch):
        place = derived_place(launch)
        return listen(place.ports), place
    listener = listen([master_port() or 0])
    address = interface_address(interface) if interface else own_address()
    place = Place(address, [listener.getsockname()[1]], os.urandom(8).hex())
    ask_mpi(launch, timeout, place)
    return listener, place


def needs_mpi(launch: Launch) -> bool:
    """Several nodes under mpirun, and nothing says which is the first."""
    return launch.num_nodes is None and "MASTER_ADDR" not in os.environ


def ask_mpi(launch: Launch, timeout: float, offer: Place | None = None) -> Place:
    """Rank 0's offer, on every rank."""
    return Place(*json.loads(exchange(json.dumps(offer), launch.global_rank, launch.world_size, timeout)))


def derived_place(launch: Launch) -> Place:
    """Where rank 0 takes the roll call, as every rank can tell without asking.

    Raises:
        UsageError: the job has no name of its own that all nodes know.
    """
    port, token = master_port(), job_token(launch, os.environ)
    ports = [port] if port else candidate_ports(token)
    if address := os.environ.get("MASTER_ADDR"):
        return Place(address, ports, token)
    return Place(LOOPBACK if launch.num_nodes == 1 else slurm_first_host(os.environ), ports, token)


def master_port() -> int | None:
    """The user's MASTER_PORT.

    Raises:
        UsageError: it is no port.
    """
    said = os.environ.get("MASTER_PORT")
    if said is None:
        return None
    if not said.isdecimal() or not 0 < int(said) < 65536:
        raise UsageError(f"MASTER_PORT is {said!r}; expected a number from 1 to 65535, or leave it unset.")
    return int(said)


def on_nodes(zero: str, visitors: dict[int, Visitor], address: str) -> tuple[list[int], str]:
    """The node of each rank, by number; and rank 0's address as a rank of another node has reached it.

    Args:
        zero: identity of rank 0's node.
        visitors: the other ranks.
        address: where all ranks are on one node.
    """
    identities = [zero, *(visitors[rank].node for rank in sorted(visitors))]
    numbers = {node: number for number, node in enumerate(dict.fromkeys(identities))}
    reached = next((visitor.reached for visitor in visitors.values() if visitor.node != zero), address)
    return [numbers[node] for node in identities], reached


def reached_by_name(name: str, launch: Launch) -> str:
    """An address for a hostname, which stands for the loopback on its own host in many an /etc/hosts."""
    outgoing = outgoing_address(name)
    if launch.num_nodes == 1 or (outgoing and not is_loopback(outgoing)):
        return name
    return own_address()


def use_held_store() -> None:
    """Make torch connect to the store that rank 0 holds, on rank 0 too, instead of opening one of its own.

    These are torchrun's own switches for its agent's store (torch/distributed/rendezvous.py).
    """
    os.environ.setdefault("TORCHELASTIC_USE_AGENT_STORE", "True")
    os.environ.setdefault("TORCHELASTIC_RESTART_COUNT", "0")


def route_gradients(reached: str, interface: str | None) -> None:
    """Let gloo and NCCL use the interface on the way to rank 0: gloo would go by the hostname's address."""
    if interface:
        os.environ.update(GLOO_SOCKET_IFNAME=interface, NCCL_SOCKET_IFNAME=interface)
    elif (own := outgoing_address(reached)) and (name := interface_of(own)):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
