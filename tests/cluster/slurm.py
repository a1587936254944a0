"""A real SLURM with two nodes, n1 and n2, on this host, for the duration of a `with` block.

    with running_slurm(folder) as slurm:
        slurm.run("srun", "--nodes=2", "hostname")

Everything it writes is in `folder`, including munge's key and socket: it leaves alone a SLURM that this host may have.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from time_limits import limit

NODES = ("n1", "n2")
# Claimed, not counted: config_overrides lets a node have more CPUs than this host.
CPUS_PER_NODE = 4
# As claimed; a job may ask for them, and finds none.
GPUS_PER_NODE = 4
MEMORY_MB = 131072
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "salloc")
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20
# A requeued job waits until the credentials of its last attempt have expired: 2 minutes by default.
REQUEUE_DELAY_S = 20

CONF = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_delay}
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=2
{nodes}
PartitionName=tests Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
{extra}
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} "
    "Gres=gpu:{gpus} State=UNKNOWN"
)


@dataclass(frozen=True)
class Slurm:
    """A running cluster.

    Attributes:
        folder: configuration, logs and spools.
    """

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which srun, sbatch, salloc and the rest find this cluster."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return outer | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a client command; the caller judges its exit status."""
        return subprocess.run(
            command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit(timeout),
        )


def why_no_slurm() -> str | None:
    """Why a cluster cannot be started here, or None if it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=search_path())]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmctld and slurmd of this test need root"
    return None


@contextmanager
def running_slurm(folder: Path, extra: str = "") -> Iterator[Slurm]:
    """Start munge, the controller and two nodes; at the end, stop them and any remaining jobs.

    Args:
        folder: an empty one; its path has to be short (a socket's name has 107 bytes at most).
        extra: lines for slurm.conf.

    Raises:
        TimeoutError: the nodes are not idle within START_TIMEOUT_S; the message ends with the logs.
    """
    slurm = Slurm(folder)
    configure(folder, extra)
    with ExitStack() as daemons:
        for command in daemon_commands(folder):
            daemons.enter_context(running_daemon(command, slurm))
            if command[0] == "munged":
                wait_until((folder / "munge.socket").exists, "munged's socket exists", folder)
        wait_until(lambda: node_states(slurm) == {"idle"}, "both nodes are idle", folder)
        try:
            yield slurm
        finally:
            cancel_jobs(slurm)


def configure(folder: Path, extra: str) -> None:
    """Write munge's key and slurm.conf."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "state").mkdir()
    host = socket.gethostname().split(".")[0]
    controller_port, *node_ports = free_ports(1 + len(NODES))
    nodes = [
        NODE.format(name=name, host=host, port=port, cpus=CPUS_PER_NODE, memory=MEMORY_MB, gpus=GPUS_PER_NODE)
        for name, port in zip(NODES, node_ports, strict=True)
    ]
    text = CONF.format(
        cluster=folder.name.lower(),  # its own: two clusters on one host give jobs the same numbers
        host=host,
        controller_port=controller_port,
        folder=folder,
        nodes="\n".join(nodes),
        extra=extra,
        requeue_delay=REQUEUE_DELAY_S,
    )
    (folder / "slurm.conf").write_text(text)
    for gpu in range(GPUS_PER_NODE):
        (folder / f"gpu{gpu}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS_PER_NODE - 1}]\n")


def daemon_commands(folder: Path) -> list[list[str]]:
    """The daemons in the order of their start, all in the foreground."""
    # --force: munged's objection to running as root.
    munge = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
    munge += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    return [munge, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)]


@contextmanager
def running_daemon(command: Sequence[str], slurm: Slurm) -> Iterator[None]:
    """Start a daemon; at the end ask it to stop, and kill it if it does not."""
    program = shutil.which(command[0], path=search_path())
    assert program, f"{command[0]} was there when why_no_slurm() looked"
    output = slurm.folder / f"{'.'.join(word for word in command if word[0] != '-')}.out"
    with output.open("w") as log:
        daemon = subprocess.Popen(
            [program, *command[1:]], env=slurm.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def node_states(slurm: Slurm) -> set[str]:
    """What sinfo reports about the nodes; empty while the controller does not answer."""
    return set(slurm.run("sinfo", "--noheader", "--Node", "--format=%t").stdout.split())


def cancel_jobs(slurm: Slurm) -> None:
    """End a test's leftovers, so that no slurmstepd outlives its slurmd."""
    jobs = slurm.run("squeue", "--noheader", "--format=%i").stdout.split()
    if jobs:
        slurm.run("scancel", *jobs)
        wait_until(lambda: not slurm.run("squeue", "--noheader").stdout, "the queue is empty", slurm.folder)


def wait_until(condition: Callable[[], bool], what: str, folder: Path) -> None:
    """Poll until a condition holds, or show the logs."""
    deadline = time.monotonic() + limit(START_TIMEOUT_S)
    while not condition():
        if time.monotonic() > deadline:
            logs = [f"--- {log.name}\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("*.[lo][ou][gt]"))]
            raise TimeoutError(f"after {START_TIMEOUT_S} s it is not so that {what}\n" + "\n".join(logs))
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: slurm.conf wants numbers, so they cannot be held until used."""
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def search_path() -> str:
    """PATH, and the folders of daemons that an ordinary shell may leave out."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
