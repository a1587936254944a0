"""How the processes of a mode are started: the words before `python`, and the cores they get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_app.compare.trials.modes import Mode, threads
from lightning_app.errors import UsageError
from lightning_app.launchers.detection import this_launch
from lightning_app.trainer.machine import usable_cores


@dataclass(frozen=True)
class Launchers:
    """What can start processes here.

    Attributes:
        mpirun: the words of an mpirun, if there is one.
        open_mpi: it is Open MPI, whose options we know.
        srun: we are in a SLURM allocation, where each run is a job step.
        cores: that this process may use; of each node, if SLURM allocated several.
        nodes: that SLURM allocated.
    """

    mpirun: str | None
    open_mpi: bool
    srun: str | None
    cores: int
    nodes: int = 1

    def launch_command(self, mode: Mode) -> list[str]:
        """What comes before `python`; empty for a single process, or ranks that Lightning starts."""
        ranks = mode.count if mode.kind == "ddp" else 1
        if self.srun:
            each = threads(mode, self.cores if mode.kind == "cpu" else self.cores * (mode.nodes or self.nodes))
            where = [f"--nodes={mode.nodes}"] if mode.nodes else []
            # --overlap: several serial processes at once are several steps.
            return [self.srun, "--overlap", *where, f"--ntasks={ranks}", f"--cpus-per-task={min(each, self.cores)}"]
        if ranks == 1 or not self.mpirun:
            return []
        words = [self.mpirun, "-np", str(ranks)]
        if self.open_mpi:
            # With binding, each rank would have one core whatever there is; without, ranks divide the cores.
            words += ["--bind-to", "none", *(["--oversubscribe"] if ranks > self.cores else [])]
            words += ["--allow-run-as-root"] if os.geteuid() == 0 else []
        return words

    def all_reduce_command(self, mode: Mode) -> list[str]:
        """For a program that is not a fit: torchrun starts the ranks if Lightning would."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={mode.count}"]
        return [*words, sys.executable] if (words := self.launch_command(mode)) else torchrun

    def name(self, mode: Mode) -> str:
        """For reports."""
        if self.srun:
            return "srun"
        return "mpirun" if self.launch_command(mode) else "Lightning" if mode.kind == "ddp" else "none"


def find_launchers() -> Launchers:
    """Search this machine.

    Raises:
        UsageError: this process is one of several ranks.
    """
    launch = this_launch()
    if launch.world_size > 1:
        raise UsageError(
            f"compare starts its ranks itself, but {launch.launcher} started {launch.world_size} of it; leave "
            f"{launch.launcher} out. In SLURM, call it in the batch script or in an salloc shell."
        )
    # The environment's own first: it may not be activated.
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    said = subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout if mpirun else ""
    srun = shutil.which("srun") if "SLURM_JOB_ID" in os.environ else None
    cores = min(usable_cores(), int(os.environ.get("SLURM_CPUS_ON_NODE", "1"))) if srun else usable_cores()
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) if srun else 1
    return Launchers(mpirun, "Open MPI" in said, srun, cores, nodes)


@contextmanager
def on_cores(first: int, count: int) -> Iterator[None]:
    """Processes started inside may use `count` of our cores, from `first` on; the plan follows that.

    If there are too few, it wraps around.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    cores = sorted(ours)
    os.sched_setaffinity(0, [cores[index % len(cores)] for index in range(first, first + count)])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)
