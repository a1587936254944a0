"""What one rank knows by itself, before it meets any other."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lightning_app.errors import UsageError
from lightning_app.launchers.detection import KNOWN_VARIABLES, this_launch
from lightning_app.launchers.launch import ALONE, Launch
from lightning_app.provenance import cpu_name
from lightning_app.trainer.machine import Machine, this_machine
from lightning_app.trainer.plan import plan_run

PACKAGES = ("laptop-to-cluster", "torch", "torchvision", "lightning", "mpi4py", "numpy")
# Beside the launcher's own, what decides which network and which devices are used.
TELLING = re.compile(
    r"^(MASTER_|CUDA_VISIBLE_DEVICES$|ROCR_|NCCL_|GLOO_|OMP_|SLURM_CPU_BIND$|SLURM_GPUS|UCX_|LIGHTNING_APP_)"
)
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "afs", "fuse.glusterfs"}


@dataclass(frozen=True)
class GPU:
    """A visible GPU.

    Attributes:
        uuid: tells GPUs apart also where every process calls its own number 0.
        capability: as sm_90.
        memory_gib: of the whole device.
    """

    name: str
    uuid: str
    capability: str
    memory_gib: float


@dataclass(frozen=True)
class Facts:
    """One rank.

    Attributes:
        rank, world_size, local_rank, local_world_size, node_rank, num_nodes: what the launcher gave it.
        launcher, reason: who, and why we believe it.
        sources: for each of these numbers, the variable and its value.
        variables: all others that bear on launch, network and devices.
        host, pid: where it runs.
        cores: processors that it may use; host_cores: that the host has; bound: these cores are its alone.
        gpus: visible to it; gpu: the one it would use.
        device, precision, threads: what a fit would use, or empty where it would not run.
        refused: why a fit would not run.
        versions: of everything that matters.
        cuda_archs: GPU generations that this PyTorch is built for.
        nvidia_driver: of the host, as the kernel tells; empty without one.
        shm_mib: free in /dev/shm; memory_gib: what the job's memory limit or the host leaves.
        own_address: what the host's own name resolves to.
        packed: packed data sets in the folder of a fit's default.
        runs_file_system: that runs/ would be written to.
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


def look_around(cache_dir: Path, runs_dir: Path) -> Facts:
    """Everything that this process can tell alone."""
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
    """The launch; where its variables make no sense, a process of its own, and why a fit would refuse them."""
    try:
        return this_launch(), ""
    except UsageError as error:
        return dataclasses.replace(ALONE, reason="the variables make no sense"), str(error)


def launch_facts(launch: Launch) -> dict:
    """The part of Facts that the launcher decides."""
    numbers = dataclasses.asdict(launch)
    kept = ("world_size", "local_rank", "local_world_size", "node_rank", "num_nodes", "launcher", "reason")
    sources = {key: f"{name}={os.environ.get(name)}" for key, name in launch.sources.items()}
    return {name: numbers[name] for name in kept} | {"rank": launch.global_rank, "sources": sources}


def machine_facts(machine: Machine) -> dict:
    """The part of Facts that Machine knows."""
    return {"cores": machine.cores, "host_cores": os.cpu_count() or 1, "bound": machine.bound}


def is_telling(name: str) -> bool:
    """Whether a variable belongs into a report. No others: they may hold secrets."""
    return name in KNOWN_VARIABLES or bool(TELLING.search(name))


def visible_gpus() -> list[GPU]:
    """What torch sees."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        GPU(gpu.name, str(getattr(gpu, "uuid", "")), f"sm_{gpu.major}{gpu.minor}", round(gpu.total_memory / 2**30, 1))
        for gpu in found
    ]


def device_name(gpu: int | None, gpus: list[GPU], refused: str) -> str:
    """What a fit would compute on."""
    if refused:
        return "none"
    return f"cuda:{gpu} {gpus[gpu].name}" if gpu is not None else "cpu"


def versions() -> dict[str, str]:
    """Of Python, packages, CUDA, NCCL, MPI's library, kernel and processor."""
    import torch

    nccl = torch.cuda.nccl.version() if torch.cuda.is_available() else ()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "cuda": torch.version.cuda or "none: a CPU build",
        "nccl": ".".join(str(part) for part in nccl) or "none",
        "mpi library": mpi_library(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "cpu": cpu_name(),
    }


def version(package: str) -> str:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


ASK_MPI = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


def mpi_library() -> str:
    """The first line of what the MPI library that mpi4py loads says of itself.

    Asked in a process of its own: once it is loaded without MPI_Init, Lightning's own search for MPI aborts.
    """
    asked = subprocess.run([sys.executable, "-c", ASK_MPI], capture_output=True, text=True)
    if asked.returncode:
        return f"none: {asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else asked.returncode}"
    return asked.stdout.splitlines()[0].split(",")[0].strip("\0 ")


def cuda_archs() -> list[str]:
    """As torch tells them, also without a GPU."""
    import torch

    return torch.cuda.get_arch_list() if torch.cuda.is_available() else []


def nvidia_driver(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The version of the kernel module; there also where torch cannot use the GPU."""
    match = re.search(r"Kernel Module\D*([\d.]+)", path.read_text()) if path.exists() else None
    return match[1] if match else ""


def free_mib(path: Path) -> int:
    """Free space, in MiB; 0 where there is no such folder."""
    return shutil.disk_usage(path).free >> 20 if path.exists() else 0


def memory_gib() -> float:
    """The host's memory, or the limit of this process's control group where that is less."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return 0.0
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(min([total, *memory_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]) / 2**30, 1)


def memory_limits(own: Path, root: Path) -> list[int]:
    """Limits of this process's control group and of all above it, in bytes.

    Args:
        own: which group that is, in the kernel's words: a line `0::/path` for version 2, `9:memory:/path` for 1.
        root: where the groups are mounted.
    """
    found = []
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        for group in (top / path.strip("/"), *(top / path.strip("/")).parents):
            if group.is_relative_to(top) and (limit := group / name).exists() and limit.read_text().strip().isdecimal():
                found.append(int(limit.read_text()))
    return found


def resolve(host: str) -> str:
    """The address of a name, or empty where nobody knows it."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return ""


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder, or its nearest parent that exists, lies on."""
    if not mounts.exists():
        return ""
    target = folder.resolve()
    found = ("", "")
    for line in mounts.read_text().splitlines():
        point, kind = line.split(" ")[1:3]
        if target.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def to_facts(said: dict) -> Facts:
    """From what another rank sent as JSON."""
    return Facts(**said | {"gpus": [GPU(**gpu) for gpu in said["gpus"]]})
