"""What this machine has: cores, GPUs, and which arithmetic they are fast at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# The flags of /proc/cpuinfo for bf16 dot products: x86 AVX-512, x86 AMX, and Arm.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Machine:
    """Facts that decide how a run is laid out.

    Attributes:
        cores: processors this process may use.
        bound: these processors belong to this process only; otherwise the ranks of the node share them.
        slurm_gpus: GPUs that SLURM allocated to this job or step on this node, visible or not.
        cpu_bf16: the processor has bf16 instructions; without them bf16 is slower than fp32.
        gpus: names of the visible GPUs.
        gpu_bf16: the first GPU has bf16 arithmetic (Ampere or newer; a V100 only emulates it).
    """

    cores: int
    cpu_bf16: bool
    gpus: tuple[str, ...] = ()
    gpu_bf16: bool = False
    bound: bool = False
    slurm_gpus: int = 0


def this_machine() -> Machine:
    """The machine we run on."""
    import torch

    gpus = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    # is_bf16_supported() counts emulation by default, so a V100 would pass.
    gpu_bf16 = bool(gpus) and torch.cuda.is_bf16_supported(including_emulation=False)
    given = os.environ.get("SLURM_GPUS_ON_NODE", "")
    slurm_gpus = int(given) if given.isdecimal() else 0
    return Machine(usable_cores(), has_bf16(cpu_flags()), gpus, gpu_bf16, is_bound(), slurm_gpus)


def usable_cores() -> int:
    """Processors in this process's affinity mask: what SLURM, taskset or mpirun left us."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_bound() -> bool:
    """Whether the launcher gave this process fewer processors than it has itself, as mpirun does by default."""
    if not hasattr(os, "sched_getaffinity"):
        return False
    try:
        return os.sched_getaffinity(0) < os.sched_getaffinity(os.getppid())
    except OSError:
        return False


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Instruction-set flags of the first processor; empty if the kernel does not list them."""
    if not path.exists():
        return set()
    lines = path.read_text().splitlines()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith(("flags", "Features"))), set())


def has_bf16(flags: set[str]) -> bool:
    """Whether the processor multiplies bf16 numbers in hardware."""
    return bool(flags & BF16_FLAGS)
