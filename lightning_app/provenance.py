"""Where a figure or a model comes from: processor, GPUs, versions and the revision of this code."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = ("laptop-to-cluster", "torch", "torchvision", "lightning", "mpi4py", "numpy")


@dataclass(frozen=True)
class GPU:
    """A visible GPU.

    Attributes:
        uuid: distinguishes GPUs even if every process numbers its own as 0.
        capability: such as sm_90.
        memory_gib: of the whole device.
    """

    name: str
    uuid: str
    capability: str
    memory_gib: float


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, for provenance."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """The commit of this checkout, with a + if it has changes, or None outside one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    known = [*git, "ls-files", "--error-unmatch", Path(__file__).name]  # else it is whose folder we are installed in
    describe = [*git, "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        subprocess.run(known, capture_output=True, check=True)
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def visible_gpus() -> list[GPU]:
    """The GPUs that torch sees."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        GPU(gpu.name, str(getattr(gpu, "uuid", "")), f"sm_{gpu.major}{gpu.minor}", round(gpu.total_memory / 2**30, 1))
        for gpu in found
    ]


def versions() -> dict[str, str]:
    """Versions of Python, packages, CUDA, NCCL, the MPI library, kernel and processor."""
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
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


ASK_MPI = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


def mpi_library() -> str:
    """The first line of the version string of the MPI library that mpi4py loads.

    Asked in a separate process: once it is loaded without MPI_Init, Lightning's own search for MPI aborts.
    """
    asked = subprocess.run([sys.executable, "-c", ASK_MPI], capture_output=True, text=True)
    if asked.returncode:
        return f"none: {asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else asked.returncode}"
    return asked.stdout.splitlines()[0].split(",")[0].strip("\0 ")


def cuda_archs() -> list[str]:
    """From torch, even without a GPU."""
    import torch

    return torch.cuda.get_arch_list() if torch.cuda.is_available() else []


def nvidia_driver(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The version of the kernel module, available even if torch cannot use the GPU."""
    match = re.search(r"Kernel Module\D*([\d.]+)", path.read_text()) if path.exists() else None
    return match[1] if match else ""
