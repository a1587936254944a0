"""Two hosts, one and two, made of network namespaces: own addresses, own hostnames, two networks between them.

    with running_hosts(folder) as hosts:
        hosts.run("one", "ping", "-c", "1", "two")

They share processes and files, as with a cluster's home folder. `hosts.agent` is their ssh: it starts a command on a
host with none of the caller's variables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from time_limits import limit

HOSTS = ("one", "two")
# Interface to the addresses of hosts one and two. The hostnames resolve to those of lan0.
NETWORKS = {"lan0": ("10.83.0.1", "10.83.0.2"), "fast0": ("10.84.0.1", "10.84.0.2")}
PROGRAMS = ("ip", "unshare", "mount")

ENTER = """\
#!/bin/sh
# enter HOST COMMAND [ARGUMENT]...: run a command on a host, with the caller's variables
host=$1; shift
exec ip netns exec "{prefix}$host" unshare --uts sh -c '
    hostname "$0" && mount --bind "{folder}/hosts.$0" /etc/hosts && exec "$@"
' "$host" "$@"
"""
AGENT = """\
#!/bin/sh
# agent HOST WORD...: as ssh does, in a new session of few variables, the words joined for a shell
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1; shift
exec env -i PATH="$PATH" HOME="$HOME" "{folder}/enter" "$host" sh -c "$*"
"""


@dataclass(frozen=True)
class Hosts:
    """Two running hosts.

    Attributes:
        folder: their /etc/hosts and the scripts `enter` and `agent`.
    """

    folder: Path

    @property
    def agent(self) -> Path:
        """What a launcher calls instead of ssh."""
        return self.folder / "agent"

    def command(self, host: str, *command: str | Path) -> list[str]:
        """A command, so that it runs on a host."""
        return [str(self.folder / "enter"), host, *map(str, command)]

    def run(
        self, host: str, *command: str | Path, environ: Mapping[str, str] | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host; the caller judges its exit status."""
        return subprocess.run(
            self.command(host, *command),
            env=os.environ | (environ or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit(timeout),
        )


def why_no_hosts() -> str | None:
    """Why network namespaces cannot be created here, or None if they can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install iproute2 util-linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"probe-{os.getpid()}"
    try:
        ip("netns", "add", probe)
        ip("netns", "del", probe)
    except subprocess.CalledProcessError as error:
        return f"this host makes no network namespaces: {error.stderr.strip()}"
    return None


@contextmanager
def running_hosts(folder: Path) -> Iterator[Hosts]:
    """Make both hosts and the networks between them, and remove them at the end."""
    prefix = f"tests{os.getpid()}-"  # namespaces have names that the whole machine shares
    write_files(folder, prefix)
    with ExitStack() as namespaces:
        for host in HOSTS:
            ip("netns", "add", prefix + host)
            namespaces.callback(ip, "netns", "del", prefix + host)
            ip("-n", prefix + host, "link", "set", "lo", "up")
        for interface, addresses in NETWORKS.items():
            connect(prefix, interface, addresses)
        yield Hosts(folder)


def write_files(folder: Path, prefix: str) -> None:
    """The scripts, and /etc/hosts as on Debian: a host's own name is an address that only it can reach."""
    for host in HOSTS:
        others = zip(NETWORKS["lan0"], HOSTS, strict=True)
        lines = [f"{'127.0.1.1' if name == host else address} {name}\n" for address, name in others]
        (folder / f"hosts.{host}").write_text("".join(["127.0.0.1 localhost\n", *lines]))
    for name, text in [("enter", ENTER), ("agent", AGENT)]:
        (folder / name).write_text(text.format(folder=folder, prefix=prefix))
        (folder / name).chmod(0o755)


def connect(prefix: str, interface: str, addresses: tuple[str, str]) -> None:
    """A cable between the hosts: a pair of virtual interfaces of one name."""
    one, two = (prefix + host for host in HOSTS)
    ip("-n", one, "link", "add", interface, "type", "veth", "peer", "name", interface, "netns", two)
    for namespace, address in zip((one, two), addresses, strict=True):
        ip("-n", namespace, "address", "add", f"{address}/24", "dev", interface)
        ip("-n", namespace, "link", "set", interface, "up")


def ip(*words: str) -> None:
    """Call iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=limit(120))
