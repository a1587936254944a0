"""All ranks of a job together: a star of connections, the address of torch's store, and each rank's node."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.addresses import LOOPBACK, interface_of, node_identity, outgoing_address
from lightning_app.rendezvous.joining import join
from lightning_app.rendezvous.places import Place, open_place, place_finder
from lightning_app.rendezvous.star import Peer, gather
from lightning_app.rendezvous.waiting import Waiting

if TYPE_CHECKING:
    from torch.distributed import TCPStore

LONGEST_STORE_WAIT_S = 86_400.0  # torch does not accept infinity


@dataclass(frozen=True)
class Rendezvous:
    """What a rank knows once all have connected.

    Attributes:
        address, port: of torch's store, which rank 0 holds.
        nodes: the index of each rank's node; nodes are numbered by their lowest ranks, so rank 0's is 0.
        reached: rank 0's address, as other nodes reach it.
        peers: open connections: rank 0's to all others, any other rank's to rank 0.
        store: on rank 0, which holds it for as long as the process lives.
    """

    address: str
    port: int
    nodes: list[int]
    reached: str
    peers: Mapping[int, Peer] = field(default_factory=dict)
    store: TCPStore | None = None


def rendezvous(launch: Launch, interface: str | None, timeout: float) -> Rendezvous:
    """Find the other ranks of a launcher's job.

    Args:
        interface: network interface of rank 0; None lets the system's routes decide.
        timeout: seconds.

    Raises:
        Missing: some ranks did not connect in time.
        UsageError: the user's MASTER_PORT is not a port, the interface does not exist, or MPI is missing or a different
            one.
    """
    if launch.global_rank:
        waiting = Waiting(timeout, quiet=launch.global_rank > 1)
        return as_other(place_finder(launch, timeout), launch.global_rank, waiting)
    # Open the store first: importing torch takes seconds, in which nobody would be answered.
    store = open_store(launch.world_size, timeout)
    if launch.world_size == 1:
        return Rendezvous(LOOPBACK, store.port, [0], LOOPBACK, store=store)
    listener, place = open_place(launch, interface, timeout)
    return as_rank_zero(listener, place, launch.world_size, store, Waiting(timeout))


def as_rank_zero(
    listener: socket.socket, place: Place, world_size: int, store: TCPStore, waiting: Waiting
) -> Rendezvous:
    """Gather the others, and tell them about the store and each other."""

    def answer(peers: Mapping[int, Peer]) -> dict[str, Any]:
        nodes, reached = on_nodes(node_identity(), peers, place.address)
        return {"address": place.address, "port": store.port, "nodes": nodes, "reached": reached}

    peers = gather(listener, place.token, world_size, waiting, answer)
    return Rendezvous(**answer(peers), peers=peers, store=store)


def as_other(find: Callable[[], Place | None], rank: int, waiting: Waiting) -> Rendezvous:
    """Find rank 0, and learn about the others from it."""
    zero, answer = join(find, rank, node_identity(), waiting)
    return Rendezvous(**answer, peers={0: zero})


def on_nodes(zero: str, peers: Mapping[int, Peer], address: str) -> tuple[list[int], str]:
    """The node of each rank, by number; and rank 0's address as seen by a rank on another node.

    Args:
        zero: identity of rank 0's node.
        peers: the other ranks.
        address: used if all ranks are on one node.
    """
    identities = [zero, *(peers[rank].node for rank in sorted(peers))]
    numbers = {node: number for number, node in enumerate(dict.fromkeys(identities))}
    reached = next((peer.reached for peer in peers.values() if peer.node != zero), address)
    return [numbers[node] for node in identities], reached


def open_store(world_size: int, timeout: float, port: int = 0) -> TCPStore:
    """Torch's store, on all interfaces, on a port that the kernel picks unless one is given.

    Raises:
        UsageError: the port is taken, or the kernel has none.
    """
    from torch.distributed import DistNetworkError, TCPStore

    wait = timedelta(seconds=min(timeout, LONGEST_STORE_WAIT_S))
    try:
        # The address is for our own connection.
        return TCPStore(LOOPBACK, port, world_size, is_master=True, timeout=wait, wait_for_workers=False)
    except DistNetworkError as error:
        host = socket.gethostname()
        if not port:
            raise UsageError(f"no port can be opened on {host} for torch's store: {error}") from error
        raise UsageError(f"MASTER_PORT is {port}, which is taken on {host}; leave it unset.") from error


def use_held_store() -> None:
    """Make torch connect to the store that rank 0 holds, on rank 0 too, instead of opening another.

    torchrun uses the same switches for its agent's store (torch/distributed/rendezvous.py).
    """
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    os.environ["TORCHELASTIC_RESTART_COUNT"] = "0"  # older torch prefixes each key with it; this store is new


def route_gradients(reached: str, interface: str | None) -> None:
    """Make gloo and NCCL use the interface on the route to rank 0: gloo would use the hostname's address."""
    if interface:
        os.environ.update(GLOO_SOCKET_IFNAME=interface, NCCL_SOCKET_IFNAME=interface)
    elif (own := outgoing_address(reached)) and (name := interface_of(own)):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
