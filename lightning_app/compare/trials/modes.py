"""The modes that can be compared, by name, and whether a machine can run one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import ALONE, Launch
from lightning_app.trainer.machine import Machine
from lightning_app.trainer.plan import plan_run

Kind = Literal["cpu", "gpu", "ddp", "serial", "original"]
EXPECTED = "cpu, cpu:T (T threads), gpu, ddp:N (N ranks), ddp:N@M (on M nodes of a SLURM job)"


@dataclass(frozen=True)
class Mode:
    """One way to run the recipe.

    Attributes:
        kind: cpu, gpu and ddp are the program's strategies; serial is `count` independent serial runs at once: what ddp
            would reach if ranks never communicated and small batches cost nothing; original is the plain loop of `make
            bench`.
        count: ranks of ddp, processes of serial, threads of cpu (0: all cores); 1 otherwise.
        weak: ddp with a full batch per rank.
        nodes: of a SLURM job that ddp is spread over; 0 leaves that to SLURM.
    """

    kind: Kind
    count: int = 1
    weak: bool = False
    nodes: int = 0

    @property
    def name(self) -> str:
        """As typed, and as named in reports."""
        if self.kind in ("gpu", "original") or (self.kind == "cpu" and not self.count):
            return self.kind
        where = f"@{self.nodes}" if self.nodes else ""
        return f"{self.kind}:{self.count}{where}" + ("-weak" if self.weak else "")

    @property
    def processes(self) -> int:
        """How many run at once."""
        return self.count if self.kind in ("ddp", "serial") else 1


def parse_mode(text: str) -> Mode:
    """From the command line; a UsageError if there is no such mode."""
    match = re.fullmatch(r"cpu:([1-9]\d*)|ddp:([1-9]\d*)(?:@([1-9]\d*))?", text)
    if match:
        mode = Mode("cpu", int(match[1])) if match[1] else Mode("ddp", int(match[2]), nodes=int(match[3] or 0))
        if mode.kind == "ddp" and mode.count == 1:
            raise UsageError("--modes: ddp:1 is one process; use cpu or gpu.")
        return mode
    if text == "cpu":
        return Mode("cpu", 0)
    if text == "gpu":
        return Mode("gpu")
    raise UsageError(f"--modes: there is no mode {text}; expected {EXPECTED}.")


def mode_from_name(name: str) -> Mode:
    """The mode with a name that this program wrote."""
    if name == "original":
        return Mode("original")
    kind, _, count = name.removesuffix("-weak").partition(":")
    if kind == "serial":
        return Mode("serial", int(count))
    mode = parse_mode(name.removesuffix("-weak"))
    return replace(mode, weak=name.endswith("-weak"))


def why_unavailable(mode: Mode, machine: Machine, launched: bool, nodes: int = 1) -> str | None:
    """Why a machine cannot run a mode; None if it can.

    Args:
        launched: whether mpirun or srun will start the ranks; then they are asked as they would be.
        nodes: that the ranks are spread over.
    """
    if mode.kind == "cpu" and mode.count > machine.cores:
        return f"{mode.count} threads, but {machine.cores} cores"
    if mode.kind == "serial" or mode.kind == "original":
        return None
    ranks = mode.processes
    if mode.nodes > min(nodes, ranks):
        return f"{mode.nodes} nodes for {ranks} ranks, but {nodes} in this job"
    nodes = mode.nodes or nodes
    several = launched and ranks > 1
    here = -(-ranks // nodes)
    launch = Launch("openmpi", ranks, 0, 0, here, 0, nodes) if several else ALONE
    try:
        plan_run(mode.kind, (here if several else ranks) if mode.kind == "ddp" else None, None, machine, launch)
    except UsageError as error:
        return str(error).split(". ")[0].removeprefix(f"--trainer.strategy {mode.kind}: ")
    return None


def threads(mode: Mode, cores: int) -> int:
    """Threads per process of a mode on a CPU: the cores are divided once."""
    if mode.kind == "cpu":
        return mode.count or cores
    return max(1, cores // mode.processes)
