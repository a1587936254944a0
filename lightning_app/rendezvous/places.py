"""Where the ranks of a job find rank 0, depending on what started them."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from lightning_app.errors import UsageError
from lightning_app.launchers.job_id import job_token
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous.addresses import (
    LOOPBACK,
    interface_address,
    is_loopback,
    outgoing_address,
    own_address,
    slurm_first_host,
)
from lightning_app.rendezvous.mpi_broadcast import exchange
from lightning_app.rendezvous.star import Place, listen

if TYPE_CHECKING:
    from torch.distributed import TCPStore

# Below the range from which Linux assigns ports itself (32768 and up).
CANDIDATE_RANGE = (20000, 32000)
CANDIDATES = 16
# Tells the processes that Lightning starts where rank 0, their parent, listens: a Place as JSON.
LOCAL_VARIABLE = "LIGHTNING_APP_RENDEZVOUS"
# The same, in the store of torchrun's agent. The store survives restarts, so it may hold the place of a rank 0 that no
# longer exists. Then nobody listens there, or someone who does not know its token. So we need not count restarts, which
# several agents do differently (pytorch#108158).
AGENT_KEY = "lightning_app/rank_0"


def open_place(launch: Launch, interface: str | None, timeout: float) -> tuple[socket.socket, Place]:
    """As rank 0, listen where the others will look; if they could not know, tell them.

    Raises:
        UsageError: no port is free, the interface does not exist, or MPI is missing or a different one.
    """
    if not (needs_mpi(launch) or has_agent_store(launch)):
        place = derived_place(launch)
        return listen(place.ports), place
    listener = listen([0 if has_agent_store(launch) else master_port() or 0])
    address = reachable_address(launch, interface)
    place = Place(address, [listener.getsockname()[1]], os.urandom(8).hex())
    if has_agent_store(launch):
        agent_store(timeout).set(AGENT_KEY, json.dumps(place))
    else:
        ask_mpi(launch, timeout, place)
    return listener, place


def open_local_place() -> socket.socket:
    """As the process from which Lightning starts the others, listen, and put the place into the environment."""
    listener = listen([0])
    os.environ[LOCAL_VARIABLE] = json.dumps(Place(LOOPBACK, [listener.getsockname()[1]], os.urandom(8).hex()))
    return listener


def local_place() -> Place:
    """Where the process that started this one for Lightning listens."""
    return Place(*json.loads(os.environ[LOCAL_VARIABLE]))


def place_finder(launch: Launch, timeout: float) -> Callable[[], Place | None]:
    """As a rank other than 0: a function that returns where rank 0 listens, or None if not known yet.

    Raises:
        UsageError: as in `derived_place`; or MPI is missing or a different one.
    """
    if has_agent_store(launch):
        return partial(published_place, agent_store(timeout))
    place = ask_mpi(launch, timeout) if needs_mpi(launch) else derived_place(launch)
    return lambda: place


# ---- torchrun


def has_agent_store(launch: Launch) -> bool:
    """Whether a torchrun agent holds a store at MASTER_ADDR and MASTER_PORT."""
    return launch.launcher == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def agent_store(timeout: float) -> TCPStore:
    """A connection to it."""
    from torch.distributed import DistError, TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    wait = timedelta(seconds=timeout)
    try:
        return TCPStore(address, port, is_master=False, timeout=wait, wait_for_workers=False)
    except DistError as error:
        raise UsageError(f"torchrun's agent at {address}:{port} did not answer within {timeout:.0f} s.") from error


def published_place(store: TCPStore) -> Place | None:
    """What rank 0 last wrote there."""
    return Place(*json.loads(store.get(AGENT_KEY))) if store.check([AGENT_KEY]) else None


# ---- mpirun over several nodes


def needs_mpi(launch: Launch) -> bool:
    """Several nodes under mpirun, and nothing says which is the first."""
    return launch.num_nodes is None and "MASTER_ADDR" not in os.environ


def ask_mpi(launch: Launch, timeout: float, offer: Place | None = None) -> Place:
    """Rank 0's offer, on every rank."""
    return Place(*json.loads(exchange(json.dumps(offer), launch.global_rank, launch.world_size, timeout)))


# ---- all others


def derived_place(launch: Launch) -> Place:
    """Where rank 0 listens, as every rank can derive without asking.

    Raises:
        UsageError: the job has no unique name that all nodes know.
    """
    port, token = master_port(), job_token(launch, os.environ)
    ports = [port] if port else candidate_ports(token)
    if address := os.environ.get("MASTER_ADDR"):
        return Place(address, ports, token)
    return Place(LOOPBACK if launch.num_nodes == 1 else slurm_first_host(os.environ), ports, token)


def candidate_ports(token: str) -> list[int]:
    """The ports where the ranks of a job look for rank 0, the same on every rank."""
    return random.Random(token).sample(range(*CANDIDATE_RANGE), CANDIDATES)


def master_port() -> int | None:
    """The user's MASTER_PORT.

    Raises:
        UsageError: it is not a port.
    """
    said = os.environ.get("MASTER_PORT")
    if said is None:
        return None
    if not said.isdecimal() or not 0 < int(said) < 65536:
        raise UsageError(f"MASTER_PORT is {said!r}; expected a number from 1 to 65535, or leave it unset.")
    return int(said)


def reachable_address(launch: Launch, interface: str | None) -> str:
    """An address of rank 0's node for the others: the interface's, else the route's to torchrun's agent, else any."""
    if interface:
        return interface_address(interface)
    if launch.num_nodes == 1:
        return LOOPBACK
    outgoing = outgoing_address(os.environ["MASTER_ADDR"]) if has_agent_store(launch) else None
    return outgoing if outgoing and not is_loopback(outgoing) else own_address()
