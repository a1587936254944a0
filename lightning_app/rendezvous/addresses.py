"""Which address of this host other nodes can reach."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lightning_app.errors import UsageError

SIOCGIFADDR = 0x8915  # linux/sockios.h
LOOPBACK = "127.0.0.1"
ANY_PORT = 9  # "connecting" a datagram socket sends nothing, so the port does not matter
# Reserved addresses (RFC 5737, RFC 3849): the route to them is the default route.
ELSEWHERE = ("192.0.2.1", "2001:db8::1")
GLOBAL_SCOPE = "00"  # in /proc/net/if_inet6; link-local addresses would also need their interface


def interface_address(interface: str) -> str:
    """An address of a network interface, for example ib0: IPv4, or IPv6 if it has no IPv4.

    Raises:
        UsageError: the interface does not exist here, or it has no address.
    """
    found = interface_addresses()
    if interface not in found:
        have = ", ".join(f"{name} ({addresses[0]})" for name, addresses in found.items())
        raise UsageError(
            f"interface {interface} is not on {socket.gethostname()} or has no address; those with one are {have}."
        )
    return found[interface][0]


def interface_addresses() -> dict[str, list[str]]:
    """The addresses of each interface that has one, IPv4 first."""
    found: dict[str, list[str]] = {}
    for name, address in [*ipv4_addresses(), *ipv6_addresses()]:
        found.setdefault(name, []).append(address)
    return found


def ipv4_addresses() -> Iterator[tuple[str, str]]:
    """Interfaces with their IPv4 addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                yield name, socket.inet_ntoa(answer[20:24])


def ipv6_addresses() -> Iterator[tuple[str, str]]:
    """Interfaces with their IPv6 addresses that other hosts can use."""
    with suppress(OSError):  # no /proc, or no IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if scope == GLOBAL_SCOPE:
                yield name, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def outgoing_address(toward: str) -> str | None:
    """Our address on the route to another host, or None if there is no route."""
    for family, place in resolve(toward):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(place)
            return probe.getsockname()[0]
    return None


def resolve(host: str) -> list[tuple[int, tuple[str, int]]]:
    """Family and socket address of a host, IPv4 first; empty if it does not resolve."""
    try:
        found = socket.getaddrinfo(host, ANY_PORT, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return sorted(((family, place[:2]) for family, _, _, _, place in found), key=lambda each: each[0])  # type: ignore[misc]  # AF_INET is the lower


def own_address() -> str:
    """Our address for other nodes: our hostname's, otherwise the default route's, otherwise any interface's.

    Debian maps a host's own name to 127.0.1.1, which no other node can reach.

    Raises:
        UsageError: there is only the loopback interface.
    """
    named = [place[0] for _, place in resolve(socket.gethostname())]
    routed = [outgoing_address(elsewhere) for elsewhere in ELSEWHERE]
    bound = [address for addresses in interface_addresses().values() for address in addresses]
    found = next((address for address in [*named, *routed, *bound] if address and not is_loopback(address)), None)
    if found is None:
        raise UsageError(f"{socket.gethostname()} has no address that another node could reach; set MASTER_ADDR.")
    return found


def interface_of(address: str) -> str | None:
    """The interface that has an address, or None."""
    return next((name for name, found in interface_addresses().items() if address in found), None)


def is_loopback(address: str) -> bool:
    """Whether only this host can reach an address."""
    return address.startswith("127.") or address == "::1"


def slurm_first_host(environ: Mapping[str, str]) -> str:
    """An address of the node where rank 0 of this SLURM step runs.

    The node's name if it resolves, otherwise the address by which SLURM reaches it.
    """
    from lightning.fabric.plugins.environments import SLURMEnvironment

    host = SLURMEnvironment.resolve_root_node_address(slurm_nodes(environ))
    return host if resolve(host) else slurm_node_address(host) or host


def slurm_nodes(environ: Mapping[str, str]) -> str:
    """The nodes of this step, rank 0's first.

    With --distribution=arbitrary, ranks are placed in the order of the user's file; the step's own list is sorted and
    does not show it. sbatch passes the file on as SLURM_ARBITRARY_NODELIST.

    Raises:
        UsageError: the file cannot be read here.
    """
    if not environ.get("SLURM_DISTRIBUTION", "").startswith("arbitrary"):
        return environ["SLURM_STEP_NODELIST"]
    hostfile = environ.get("SLURM_HOSTFILE")
    if not hostfile:
        return environ.get("SLURM_ARBITRARY_NODELIST") or environ["SLURM_STEP_NODELIST"]
    try:
        lines = Path(hostfile).read_text().split()
    except OSError as error:
        raise UsageError(
            f"SLURM_HOSTFILE {hostfile}, which says where rank 0 is, cannot be read on {socket.gethostname()} "
            f"({error.strerror}); put it where all nodes see it, or set MASTER_ADDR to its first line."
        ) from error
    return lines[0] if lines else environ["SLURM_STEP_NODELIST"]


def slurm_node_address(node: str) -> str | None:
    """A node's NodeAddr, from `scontrol show node`."""
    try:
        command = ["scontrol", "show", "node", "--oneliner", node]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NodeAddr=(\S+)", shown)
    return found[1] if found else None


def node_identity() -> str:
    """Distinguishes nodes even if containers on different nodes have the same hostname; contains no spaces."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = os.readlink("/proc/self/ns/net")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{network}"
