"""Who am I? Which launcher started this process, and what rank it gave it.

The nearest launcher among the parent processes is asked, and only its own variables are read: a batch script, an
salloc shell, a tmux server or a login file hand down ranks that were never meant for us. Only the standard library
is imported, so that this runs before torch and lightning, which read ranks at import.

Verified with Open MPI 4.1.4 and 5.0.11, MPICH 5.0.2, Intel MPI 2021.18, SLURM 22.05, torchrun of torch 2.14 and
lightning 2.6.6 (tests/lightning_app/launchers/launches).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from lightning_app.errors import UsageError
from lightning_app.launchers.processes import OVERRIDE, TORCHRUN_PROGRAMS, Process, parents

Launcher = Literal["openmpi", "hydra", "slurm", "torchrun", "lightning", "none"]

OPEN_MPI_PROGRAMS = {"prterun", "prted", "prte", "orted", "orterun"}
# MPICH's and Intel MPI's ranks are children of a proxy, whatever mpiexec is called.
HYDRA_PROGRAMS = {"hydra_pmi_proxy", "pmi_proxy"}
# Open MPI 4 runs its ranks from mpirun itself; others that bear the name are told apart by their variables.
MPI_PROGRAMS = {"mpirun", "mpiexec", "mpirun.openmpi", "mpiexec.openmpi"}
# A step has a number; these have one process, though their variables speak of all tasks of the job.
SLURM_NOT_A_STEP = ("batch]", "interactive]", "extern]")
# The same by number: slurm.h counts down from 0xfffffffd, and the batch step of 22.05 has no SLURM_STEP_ID at all.
SLURM_NOT_A_STEP_IDS = {"", *(str(0xFFFFFFFD - kind) for kind in range(4))}
# What runs below these was started from a terminal, not by the launcher above them.
TERMINAL_PROGRAMS = {"tmux: server", "screen", "SCREEN", "sshd", "dropbear"}
# Set for each child by lightning/fabric/strategies/launchers/subprocess_script.py
LIGHTNING_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """What this process is in its job.

    Attributes:
        launcher: what started it; `none` is a process of its own.
        world_size: processes of the job.
        global_rank: 0 .. world_size - 1.
        local_rank: 0 .. local_world_size - 1 on this node.
        local_world_size: processes of the job on this node.
        node_rank: index of this node; None where only a rendezvous can tell (several nodes under mpirun).
        num_nodes: None as above.
        sources: the variable that each value was read from.
        reason: why this launcher, in one line.
    """

    launcher: Launcher
    world_size: int
    global_rank: int
    local_rank: int
    local_world_size: int
    node_rank: int | None
    num_nodes: int | None
    sources: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def external(self) -> bool:
        """The processes were created by a launcher outside of Python's own program."""
        return self.launcher not in ("none", "lightning")


ALONE = Launch("none", 1, 0, 0, 1, 0, 1)


def this_launch() -> Launch:
    """Look at this process: its variables, and its parents where there is a /proc.

    Raises:
        UsageError: as identify().
    """
    return identify(os.environ, tuple(parents()))


def identify(environ: Mapping[str, str], ancestors: Sequence[Process]) -> Launch:
    """Who this process is.

    Args:
        environ: its environment.
        ancestors: its parents, nearest first; none where they cannot be seen, then the variables alone decide.

    Raises:
        UsageError: the variables of the launcher are missing, no numbers, or contradict each other.
    """
    launcher, reason = choose_launcher(environ, ancestors)
    launch = READERS[launcher](environ, reason)
    check(launch, environ)
    return launch


# ---- which launcher


def choose_launcher(environ: Mapping[str, str], ancestors: Sequence[Process]) -> tuple[Launcher, str]:
    """The launcher that is nearest to this process, and why it."""
    # Before the override, which Lightning's children inherit: as `none` each would start children of its own.
    if is_lightning_child(environ, ancestors):
        return "lightning", "its variables were set by the Python process that started it"
    if OVERRIDE in environ:
        return overridden(environ[OVERRIDE])
    if not ancestors:
        found = by_variables(environ)
        return found, "by its variables alone: the parent processes cannot be seen here"
    for process in ancestors:
        launcher = launcher_of(process, environ)
        if launcher:
            return launcher, f"the nearest launcher is the parent process {describe(process)}"
    outside = beyond(environ, ancestors)
    found = by_variables(outside)
    if found != "none":
        return found, "by its variables, which came from outside of what can be seen (container, hidden processes)"
    ignored = [name for name in RANK_VARIABLES if name in environ]
    return "none", "no launcher among the parent processes" + (f"; ignored: {', '.join(ignored)}" if ignored else "")


def overridden(name: str) -> tuple[Launcher, str]:
    """What the user insists on."""
    for launcher in get_args(Launcher):
        if name == launcher:
            return launcher, f"{OVERRIDE} says so"
    raise UsageError(f"{OVERRIDE} is {name!r}; expected one of {', '.join(get_args(Launcher))}, or leave it unset.")


def launcher_of(process: Process, environ: Mapping[str, str]) -> Launcher | None:
    """What a parent process means for those below it; None if it is nothing but a parent."""
    names = {process.name, process.program}
    if names & HYDRA_PROGRAMS:
        return "hydra"
    if names & OPEN_MPI_PROGRAMS:
        return "openmpi"
    if names & MPI_PROGRAMS:
        return "hydra" if "PMI_RANK" in environ and "OMPI_COMM_WORLD_RANK" not in environ else "openmpi"
    if process.name == "slurmstepd":
        return "none" if process.program.endswith(SLURM_NOT_A_STEP) else "slurm"
    if process.name == "slurm_script" or names & TERMINAL_PROGRAMS:
        return "none"
    if process.program in TORCHRUN_PROGRAMS or process.name == "pt_elastic":  # torch's name for its agents
        return "torchrun"
    return None


def is_lightning_child(environ: Mapping[str, str], ancestors: Sequence[Process]) -> bool:
    """Whether a Python, the parent, set Lightning's variables for this very process.

    Its children have local rank 1 and up: rank 0 is the process that starts them.
    """
    variables = {name: environ.get(name) for name in LIGHTNING_VARIABLES}
    if None in variables.values() or variables["LOCAL_RANK"] == "0":
        return False
    if not ancestors:
        return "TORCHELASTIC_RUN_ID" not in environ
    parent = ancestors[0]
    inherited = {name: (parent.environ or {}).get(name) for name in LIGHTNING_VARIABLES} == variables
    return is_python(parent) and not inherited


def is_python(process: Process) -> bool:
    """Whether it runs a Python program that is no launcher: processes.program() says so."""
    return process.program.startswith("python ")


def beyond(environ: Mapping[str, str], ancestors: Sequence[Process]) -> dict[str, str]:
    """The variables that the topmost process that can be seen was started with.

    In a container they came from a launcher outside, and so they did below a hidden process (/proc mounted with
    hidepid). init and systemd, the topmost elsewhere, have none; hidden, they are known by their pid.
    """
    *below, top = ancestors
    if top.name:
        origin = top.environ
    elif top.pid == 1:
        origin = {}
    else:
        origin = below[-1].environ if below else environ
    return {name: value for name, value in (origin or {}).items() if environ.get(name) == value}


def by_variables(environ: Mapping[str, str]) -> Launcher:
    """The launcher that the variables speak of, innermost of the usual nestings first."""
    if "TORCHELASTIC_RUN_ID" in environ:
        return "torchrun"
    if "OMPI_COMM_WORLD_RANK" in environ:
        return "openmpi"
    if "PMI_RANK" in environ and "MPI_LOCALRANKID" in environ:  # srun --mpi=pmi2 sets the first alone
        return "hydra"
    if "SLURM_PROCID" in environ and environ.get("SLURM_STEP_ID", "") not in SLURM_NOT_A_STEP_IDS:
        return "slurm"
    return "none"


def describe(process: Process) -> str:
    """Name and number, for messages."""
    return f"{process.program or process.name} (pid {process.pid})"


# ---- its values

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", "RANK", "LOCAL_RANK")


def read_openmpi(environ: Mapping[str, str], reason: str) -> Launch:
    """OMPI_COMM_WORLD_NODE_RANK is the rank within the node, and nothing tells the index of the node."""
    names = {
        "world_size": "OMPI_COMM_WORLD_SIZE",
        "global_rank": "OMPI_COMM_WORLD_RANK",
        "local_rank": "OMPI_COMM_WORLD_LOCAL_RANK",
        "local_world_size": "OMPI_COMM_WORLD_LOCAL_SIZE",
    }
    return of_mpi("openmpi", names, environ, reason)


def read_hydra(environ: Mapping[str, str], reason: str) -> Launch:
    """MPICH and Intel MPI."""
    names = {
        "world_size": "PMI_SIZE",
        "global_rank": "PMI_RANK",
        "local_rank": "MPI_LOCALRANKID",
        "local_world_size": "MPI_LOCALNRANKS",
    }
    return of_mpi("hydra", names, environ, reason)


def of_mpi(launcher: Launcher, names: Mapping[str, str], environ: Mapping[str, str], reason: str) -> Launch:
    """One node if all ranks are here; otherwise the number of nodes is for the rendezvous to find."""
    values = numbers(launcher, names, environ)
    here = values["local_world_size"] == values["world_size"]
    return Launch(
        launcher, **values, node_rank=0 if here else None, num_nodes=1 if here else None, sources=names, reason=reason
    )


def read_slurm(environ: Mapping[str, str], reason: str) -> Launch:
    """The step's variables: SLURM_NTASKS, SLURM_NNODES and SLURM_TASKS_PER_NODE may be the whole job's."""
    names = {
        "world_size": "SLURM_STEP_NUM_TASKS",
        "global_rank": "SLURM_PROCID",
        "local_rank": "SLURM_LOCALID",
        "node_rank": "SLURM_NODEID",
        "num_nodes": "SLURM_STEP_NUM_NODES",
    }
    values = numbers("slurm", names, environ)
    tasks = tasks_per_node(environ)
    if len(tasks) != values["num_nodes"] or sum(tasks) != values["world_size"] or values["node_rank"] >= len(tasks):
        raise inconsistent("slurm", "SLURM_STEP_TASKS_PER_NODE does not fit the numbers of tasks and nodes", environ)
    sources = names | {"local_world_size": "SLURM_STEP_TASKS_PER_NODE"}
    return Launch("slurm", **values, local_world_size=tasks[values["node_rank"]], sources=sources, reason=reason)


def tasks_per_node(environ: Mapping[str, str]) -> list[int]:
    """SLURM_STEP_TASKS_PER_NODE, '2(x3),1' say, as [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise inconsistent("slurm", "SLURM_STEP_TASKS_PER_NODE is not like 2(x3),1", environ)
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def read_torchrun(environ: Mapping[str, str], reason: str) -> Launch:
    """GROUP_* are the agents, one a node."""
    names = {
        "world_size": "WORLD_SIZE",
        "global_rank": "RANK",
        "local_rank": "LOCAL_RANK",
        "local_world_size": "LOCAL_WORLD_SIZE",
        "node_rank": "GROUP_RANK",
        "num_nodes": "GROUP_WORLD_SIZE",
    }
    return Launch("torchrun", **numbers("torchrun", names, environ), sources=names, reason=reason)


def read_lightning(environ: Mapping[str, str], reason: str) -> Launch:
    """The children of a local ddp run: one node, so that local and global rank are the same."""
    names = {"world_size": "WORLD_SIZE", "global_rank": "LOCAL_RANK", "node_rank": "NODE_RANK"}
    values = numbers("lightning", names, environ)
    sources = names | {"local_rank": "LOCAL_RANK", "local_world_size": "WORLD_SIZE"}
    local = {"local_rank": values["global_rank"], "local_world_size": values["world_size"]}
    return Launch("lightning", **values, **local, num_nodes=1, sources=sources, reason=reason)


def read_none(environ: Mapping[str, str], reason: str) -> Launch:
    """A process of its own."""
    return replace(ALONE, reason=reason)


READERS: dict[Launcher, Callable[[Mapping[str, str], str], Launch]] = {
    "openmpi": read_openmpi,
    "hydra": read_hydra,
    "slurm": read_slurm,
    "torchrun": read_torchrun,
    "lightning": read_lightning,
    "none": read_none,
}


def numbers(launcher: Launcher, names: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, int]:
    """The values of variables that all have to be there."""
    wrong = [name for name in names.values() if not re.fullmatch(r"\d+", environ.get(name, ""))]
    if wrong:
        raise inconsistent(launcher, f"{', '.join(wrong)}: missing or not a number", environ)
    return {key: int(environ[name]) for key, name in names.items()}


def check(launch: Launch, environ: Mapping[str, str]) -> None:
    """A rank is below its size, and a part is not larger than the whole."""
    bounds = [
        ("global_rank", launch.global_rank, "world_size", launch.world_size),
        ("local_rank", launch.local_rank, "local_world_size", launch.local_world_size),
        ("node_rank", launch.node_rank or 0, "num_nodes", launch.num_nodes or 1),
        ("local_world_size", launch.local_world_size, "world_size + 1", launch.world_size + 1),
    ]
    for small, value, large, limit in bounds:
        if value >= limit:
            raise inconsistent(launch.launcher, f"{small} {value} is not below {large} {limit}", environ)


def inconsistent(launcher: Launcher, what: str, environ: Mapping[str, str]) -> UsageError:
    """The error of a launcher whose variables make no sense; all that were found are in it."""
    found = [f"  {name}={value}" for name, value in sorted(environ.items()) if name in KNOWN_VARIABLES]
    return UsageError(
        f"this process was started by {launcher}, but its variables are not {launcher}'s: {what}. Found:\n"
        + ("\n".join(found) or "  none of them")
        + f"\nPass the launcher's variables on unchanged (no env -i, sudo, su -, or exports of your own); "
        f"or, to run as a process of its own, set {OVERRIDE}=none."
    )


KNOWN_VARIABLES = {
    *("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    *("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS"),
    *("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_STEP_TASKS_PER_NODE"),
    *("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID"),
    *LIGHTNING_VARIABLES,
    OVERRIDE,
}
