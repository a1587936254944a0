"""Which address of this host the other nodes can reach."""

from __future__ import annotations

import array
import fcntl
import os
import re
import socket
import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lightning_app.errors import UsageError

SIOCGIFADDR = 0x8915  # linux/sockios.h
LOOPBACK = "127.0.0.1"
ANY_PORT = 9  # "connecting" a datagram socket sends nothing, so the port does not matter
ELSEWHERE = "192.0.2.1"  # nobody's (RFC 5737): the way there is the default route


def interface_address(interface: str) -> str:
    """The IPv4 address of a network interface, for example ib0.

    Raises:
        UsageError: there is no such interface here, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            found = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError as error:
            have = ", ".join(name for _, name in socket.if_nameindex())
            raise UsageError(
                f"interface {interface} has no IPv4 address on {socket.gethostname()} ({error.strerror}); "
                f"there are {have}."
            ) from error
    return socket.inet_ntoa(array.array("B", found)[20:24].tobytes())


def outgoing_address(toward: str) -> str | None:
    """Our address on the way to another host, or None where there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((toward, ANY_PORT))
        except OSError:
            return None
        return probe.getsockname()[0]


def own_address() -> str:
    """Our address for other nodes: our hostname's, else that on the default route, else any interface's.

    Debian gives a host's own name 127.0.1.1, which no other node can reach.

    Raises:
        UsageError: there is only the loopback.
    """
    candidates = [hostname_address(), outgoing_address(ELSEWHERE), *interface_addresses().values()]
    found = next((address for address in candidates if address and not is_loopback(address)), None)
    if found is None:
        raise UsageError(f"{socket.gethostname()} has no address that another node could reach; set MASTER_ADDR.")
    return found


def hostname_address() -> str | None:
    """What our hostname stands for, or None where it cannot be resolved."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return None


def interface_addresses() -> dict[str, str]:
    """The IPv4 address of each interface that has one."""
    found = {}
    for _, name in socket.if_nameindex():
        with suppress(UsageError):  # it has none
            found[name] = interface_address(name)
    return found


def interface_of(address: str) -> str | None:
    """The interface that has an address, or None."""
    return next((name for name, found in interface_addresses().items() if found == address), None)


def is_loopback(address: str) -> bool:
    """Whether only this host itself can reach an address."""
    return address.startswith("127.")


def slurm_first_host(environ: Mapping[str, str]) -> str:
    """An address of the first node of this SLURM step, where rank 0 runs.

    The node's name where it can be resolved, else the address by which SLURM itself reaches it.
    """
    from lightning.fabric.plugins.environments import SLURMEnvironment

    host = SLURMEnvironment.resolve_root_node_address(environ["SLURM_STEP_NODELIST"])
    try:
        socket.gethostbyname(host)
    except OSError:
        return slurm_node_address(host) or host
    return host


def slurm_node_address(node: str) -> str | None:
    """NodeAddr of a node, as `scontrol show node` tells it."""
    try:
        command = ["scontrol", "show", "node", "--oneliner", node]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NodeAddr=(\S+)", shown)
    return found[1] if found else None


def node_identity() -> str:
    """Tells nodes apart also where containers on different nodes have the same hostname; no spaces in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = os.readlink("/proc/self/ns/net")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{network}"
