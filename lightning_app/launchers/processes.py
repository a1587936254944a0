"""The parents of this process, as far as /proc shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

# The escape hatch for unknown clusters: we trust the variables of this launcher.
OVERRIDE = "LIGHTNING_APP_LAUNCHER"
# Names of the variables with which launchers talk to their processes.
RELEVANT = re.compile(
    r"^(OMPI_|PMIX_|PMI_|MPI_|SLURM_|I_MPI|HYDRA|PRTE_|TORCHELASTIC|MASTER_|GROUP_|NODE_RANK|(LOCAL_)?(RANK|WORLD_SIZE)$"
    r"|FLUX_|JSM_|LSB_JOBID|PALS_|MV2_|ALPS_|(CUDA|ROCR|HIP)_VISIBLE_DEVICES$)"
    rf"|{OVERRIDE}"
)
# A shell that someone types into, as program() names it.
INTERACTIVE = " (interactive)"
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "csh", "tcsh", "fish"}
SHELL_OPTIONS = {"-i", "-l", "--login"}
TORCHRUN_PROGRAMS = {"torchrun", "torch.distributed.run", "torch.distributed.launch"}
# Names shared by several MPIs.
MPI_PROGRAMS = {"mpirun", "mpiexec", "mpirun.openmpi", "mpiexec.openmpi"}


@dataclass(frozen=True)
class Process:
    """What we know about a parent process.

    Attributes:
        name: the kernel's name for it (comm, 15 characters); empty where /proc hides it.
        pid: its number.
        program: what it runs, without folders: `bash`, `torchrun`, `torch.distributed.run`, `slurmstepd: [7.batch]`.
        environ: the RELEVANT variables it was started with; None if they are not readable.
    """

    name: str
    pid: int
    program: str = ""
    environ: Mapping[str, str] | None = None


def parents(proc: Path = Path("/proc")) -> Iterator[Process]:
    """This process's parents, nearest first; the last one has no name if its parents are hidden."""
    pid = parent_of("self", proc)  # /proc's numbers, which differ in a container that does not have its own /proc
    while pid > 0:
        yield (process := look_at(pid, proc))
        pid = parent_of(pid, proc) if process.name else 0


def look_at(pid: int, proc: Path) -> Process:
    """One process, as far as /proc shows it."""
    try:
        name = (proc / str(pid) / "comm").read_text().rstrip("\n")
        argv = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return Process("", pid)
    return Process(name, pid, program(argv), relevant_environ(proc / str(pid) / "environ"))


def relevant_environ(path: Path) -> dict[str, str] | None:
    """The environment a process was started with; None if it belongs to another user."""
    try:
        entries = path.read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if RELEVANT.search(name)}


def parent_of(pid: int | Literal["self"], proc: Path) -> int:
    """The pid of a process's parent; 0 is the end, also if the process has just exited."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return 0
    match = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)
    return int(match[1]) if match else 0


def program(argv: Sequence[str]) -> str:
    """The program that a command line runs, without folders and options.

    An interpreter's script or module counts, prefixed with `python ` unless it is one of torchrun's.
    """
    first = PurePath(argv[0]).name
    if ": " in argv[0]:  # a title that it gave itself: slurmstepd's names the step, sshd's the user
        return argv[0].strip() if argv[0].startswith("slurmstepd") else argv[0].partition(":")[0]
    if first.removeprefix("-") in SHELLS and set(argv[1:]) <= SHELL_OPTIONS:
        return first.removeprefix("-") + INTERACTIVE
    if not re.match(r"(python|pypy)[\d.]*$", first):
        return first
    script = python_script(argv[1:])
    return script if script in TORCHRUN_PROGRAMS else f"python {script}"


def python_script(options: Sequence[str]) -> str:
    """The module after -m, or the name of the first word that is not an option."""
    words = iter(options)
    for word in words:
        if word == "-m":
            return next(words, "")
        if word in ("-X", "-W"):
            next(words, "")
        elif word == "-c" or not word.startswith("-"):
            return PurePath(word).name
    return ""


def namespace(pid: int, proc: Path = Path("/proc")) -> str:
    """The pid namespace of a process: in a container, other processes have the same number. Empty if hidden."""
    try:
        return re.sub(r"\D", "", os.readlink(proc / str(pid) / "ns/pid"))
    except OSError:
        return ""
