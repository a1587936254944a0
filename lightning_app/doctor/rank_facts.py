"""What one rank knows before the rendezvous."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from lightning_app.doctor.host import file_system, free_mib, memory_gib, resolve
from lightning_app.errors import UsageError
from lightning_app.launchers.detection import KNOWN_VARIABLES, this_launch
from lightning_app.launchers.launch import ALONE, Launch
from lightning_app.provenance import GPU, cuda_archs, nvidia_driver, versions, visible_gpus
from lightning_app.trainer.machine import Machine, this_machine
from lightning_app.trainer.plan import plan_run

# Besides the launcher's variables, these decide which network and which devices are used.
TELLING = re.compile(
    r"^(MASTER_|(CUDA|ROCR|HIP)_VISIBLE_DEVICES$|ROCR_|NCCL_|GLOO_|OMP_|SLURM_CPU_BIND$|SLURM_(STEP_|JOB_)?GPUS|UCX_"
    r"|I_MPI_PIN|LIGHTNING_APP_)"
)


@dataclass(frozen=True)
class Facts:
    """One rank.

    Attributes:
        rank, world_size, local_rank, local_world_size, node_rank, num_nodes: what the launcher gave it.
        launcher, reason: which one, and why we trust it.
        sources: for each of these numbers, the variable and its value.
        variables: all others that bear on launch, network and devices.
        host, pid: where it runs.
        cores: processors that it may use; host_cores: that the host has; bound: these cores belong to it only.
        gpus: visible to it; gpu: the one it would use.
        device, precision, threads: what a fit would use, or empty if it would not run.
        refused: why a fit would not run.
        versions: of everything that matters.
        cuda_archs: GPU generations that this PyTorch is built for.
        nvidia_driver: of the host, from the kernel; empty without one.
        shm_mib: free in /dev/shm; memory_gib: what the job's memory limit or the host leaves.
        own_address: what the host's own name resolves to.
        packed: packed data sets in a fit's default folder.
        runs_file_system: the one that runs/ would be written to.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int | None
    num_nodes: int | None
    launcher: str
    reason: str
    sources: dict[str, str]
    variables: dict[str, str]
    host: str
    pid: int
    cores: int
    host_cores: int
    bound: bool
    gpus: list[GPU]
    gpu: int | None
    device: str
    precision: str
    threads: int
    refused: str
    versions: dict[str, str]
    cuda_archs: list[str]
    nvidia_driver: str
    shm_mib: int
    memory_gib: float
    own_address: str
    packed: list[str]
    runs_file_system: str


def rank_facts(cache_dir: Path, runs_dir: Path) -> Facts:
    """Everything that this process can find out alone."""
    machine = this_machine()
    launch, unclear = launch_or_alone()
    gpus = visible_gpus()
    try:
        plan, refused = plan_run("auto", None, None, machine, launch), unclear
    except UsageError as error:
        plan, refused = None, str(error)
    return Facts(
        **launch_facts(launch),
        variables={name: value for name, value in sorted(os.environ.items()) if is_telling(name)},
        host=socket.gethostname(),
        pid=os.getpid(),
        **machine_facts(machine),
        gpus=gpus,
        gpu=plan.gpu if plan else None,
        device=device_name(plan.gpu if plan else None, gpus, refused),
        precision=plan.precision if plan else "",
        threads=plan.threads if plan else 0,
        refused=refused,
        versions=versions(),
        cuda_archs=cuda_archs(),
        nvidia_driver=nvidia_driver(),
        shm_mib=free_mib(Path("/dev/shm")),
        memory_gib=memory_gib(),
        own_address=resolve(socket.gethostname()),
        packed=sorted(path.parent.name for path in cache_dir.glob("*/meta.json")),
        runs_file_system=file_system(runs_dir),
    )


def launch_or_alone() -> tuple[Launch, str]:
    """The launch; if its variables are inconsistent, a single process, and why a fit would refuse them."""
    try:
        return this_launch(), ""
    except UsageError as error:
        return dataclasses.replace(ALONE, reason="the variables contradict each other or are missing"), str(error)


def launch_facts(launch: Launch) -> dict:
    """The part of Facts that the launcher decides."""
    numbers = dataclasses.asdict(launch)
    kept = ("world_size", "local_rank", "local_world_size", "node_rank", "num_nodes", "launcher", "reason")
    sources = {key: f"{name}={os.environ.get(name)}" for key, name in launch.sources.items()}
    return {name: numbers[name] for name in kept} | {"rank": launch.global_rank, "sources": sources}


def machine_facts(machine: Machine) -> dict:
    """The part of Facts from Machine."""
    return {"cores": machine.cores, "host_cores": os.cpu_count() or 1, "bound": machine.bound}


def is_telling(name: str) -> bool:
    """Whether a variable belongs in a report. No others: they may hold secrets."""
    return name in KNOWN_VARIABLES or bool(TELLING.search(name))


def device_name(gpu: int | None, gpus: list[GPU], refused: str) -> str:
    """What a fit would compute on."""
    if refused:
        return "none"
    return f"cuda:{gpu} {gpus[gpu].name}" if gpu is not None else "cpu"


def to_facts(said: dict) -> Facts:
    """From the JSON that another rank sent."""
    return Facts(**said | {"gpus": [GPU(**gpu) for gpu in said["gpus"]]})
