"""Meets the other ranks using only the plugin, adds up their numbers through gloo, and writes what it knows.

Run under any launcher: python rendezvous_program.py FOLDER [interface]
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import torch
from torch import distributed

from lightning_app.rendezvous.environment import LauncherEnvironment


def main(folder: Path, interface: str | None) -> None:
    """Write rank-N.json."""
    environment = LauncherEnvironment(interface=interface, timeout=1000)
    rank = environment.global_rank()
    os.environ.update(MASTER_ADDR=environment.main_address, MASTER_PORT=str(environment.main_port))
    distributed.init_process_group("gloo", rank=rank, world_size=environment.world_size())
    numbers = torch.tensor([float(rank)])
    distributed.all_reduce(numbers)
    found = {
        "host": socket.gethostname(),
        "node_rank": environment.node_rank(),
        "sum": numbers.item(),
        "address": environment.main_address,
        "gradients": os.environ.get("GLOO_SOCKET_IFNAME"),
        "mpi": "mpi4py.MPI" in sys.modules,
    }
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()  # otherwise gloo's threads may outlive what they depend on


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
