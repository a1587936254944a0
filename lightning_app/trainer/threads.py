"""How many threads a process gets."""

from __future__ import annotations

import os

from lightning_app.trainer.machine import Machine


def choose_threads(processes: int, machine: Machine, launched: bool) -> tuple[int, str]:
    """Divide the node's cores once."""
    if machine.bound and launched:
        return machine.cores, f"the launcher bound this process to {machine.cores} of the node's cores"
    shared = f"{machine.cores} usable cores for {processes} process{'es' if processes > 1 else ''}"
    return max(1, machine.cores // processes), shared


def set_threads(threads: int) -> None:
    """Threads of this process, and of the ddp processes it starts (Lightning would divide the cores again)."""
    import torch  # slow, and a plan does not need it

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
