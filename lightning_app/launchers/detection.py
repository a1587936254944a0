"""Which launcher started this process, and which rank it assigned.

We ask the nearest launcher among the parent processes and read only its variables: a batch script, an salloc shell, a
tmux server or a login file pass down ranks that were never meant for us. This module imports only the standard library,
so that it runs before torch and lightning, which read ranks at import.

Verified with Open MPI 4.1.4 and 5.0.11, MPICH 5.0.2, Intel MPI 2021.18, SLURM 22.05, torchrun of torch 2.14 and
lightning 2.6.6 (tests/lightning_app/launchers/launches).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import ALONE, Launch
from lightning_app.launchers.processes import OVERRIDE, Process, parents
from lightning_app.launchers.spec import Contradiction, Environ, Spec
from lightning_app.launchers.specs import SPECS
from lightning_app.launchers.specs.lightning import is_child as is_lightning_child
from lightning_app.launchers.specs.slurm import forgotten_srun
from lightning_app.launchers.unclaimed import launcher_by_variables_alone, set_below

NAMES = (*SPECS, "none")
KNOWN_VARIABLES = {OVERRIDE, *(name for spec in SPECS.values() for name in spec.variables)}
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# Processes below these were started from a terminal, not by the launcher above them.
TERMINAL_PROGRAMS = {"tmux: server", "screen", "SCREEN", "sshd", "dropbear"}


@cache
def this_launch() -> Launch:
    """This process. Detected once, so that later changes to os.environ do not change the answer.

    Raises:
        UsageError: as identify().
    """
    return identify(os.environ, tuple(parents()))


def identify(environ: Environ, ancestors: Sequence[Process]) -> Launch:
    """Who a process is.

    Args:
        environ: its environment.
        ancestors: its parents, nearest first; empty if they are not visible, and then the variables alone decide.

    Raises:
        UsageError: the launcher's variables are missing, not numbers, or contradict each other; or this is one of
            several ranks of an unknown launcher.
    """
    name, reason = choose_launcher(environ, ancestors)
    if name == "none":
        return replace(ALONE, reason=reason, warning=forgotten_srun(environ))
    return replace(read(SPECS[name], environ), reason=reason, own_gpus=has_own_gpus(name, environ, ancestors))


def choose_launcher(environ: Environ, ancestors: Sequence[Process]) -> tuple[str, str]:
    """The launcher nearest to this process, and why we chose it."""
    # Comes before the override, which Lightning's children inherit: with `none`, each would start children.
    if is_lightning_child(environ, ancestors):
        return "lightning", "its variables were set by the Python process that started it"
    if OVERRIDE in environ:
        return overridden(environ[OVERRIDE])
    if not ancestors:
        return by_variables(environ), "by its variables alone: the parent processes are not visible here"
    kinds = [launcher_of(process, environ) for process in ancestors]
    nearest = next((index for index, kind in enumerate(kinds) if kind), None)
    if nearest is None:
        found = by_variables(beyond(environ, ancestors))
        if found != "none":
            return found, "by its variables, which come from processes not visible here (container, hidden processes)"
        return launcher_by_variables_alone(environ), "no launcher among the parent processes"
    found = kinds[nearest] or "none"
    if found == "none":
        found = launcher_by_variables_alone(set_below(environ, ancestors[: nearest + 1]))
    return found, f"the nearest launcher is the parent process {describe(ancestors[nearest])}"


def overridden(name: str) -> tuple[str, str]:
    """The launcher that the user forces."""
    if name not in NAMES:
        raise UsageError(f"{OVERRIDE} is {name!r}; expected one of {', '.join(NAMES)}, or leave it unset.")
    return name, f"set by {OVERRIDE}"


def launcher_of(process: Process, environ: Environ) -> str | None:
    """The launcher that a parent process implies for the processes below it; None if it is just a parent."""
    specs = SPECS.values()
    if {process.name, process.program} & TERMINAL_PROGRAMS or any(spec.is_boundary(process) for spec in specs):
        return "none"
    return next((spec.name for spec in specs if spec.is_parent(process, environ)), None)


def beyond(environ: Environ, ancestors: Sequence[Process]) -> dict[str, str]:
    """The variables with which the topmost visible process was started.

    In a container, they came from a launcher outside; likewise below a hidden process (/proc mounted with hidepid).
    Elsewhere the topmost process is init or systemd, which have none; if hidden, we recognise them by pid.
    """
    *below, top = ancestors
    if top.name:
        origin = top.environ
    elif top.pid == 1:
        origin = {}
    else:
        origin = below[-1].environ if below else environ
    return {name: value for name, value in (origin or {}).items() if environ.get(name) == value}


def by_variables(environ: Environ) -> str:
    """The launcher that the variables indicate."""
    return next((spec.name for spec in SPECS.values() if spec.has_spoken(environ)), "none")


def has_own_gpus(name: str, environ: Environ, ancestors: Sequence[Process]) -> bool:
    """Whether this process's GPUs were chosen below its launcher, or by a launcher that hides its own.

    Numbers, UUIDs and MIG ids are treated alike: only a difference counts.
    """
    visible = {variable: environ[variable] for variable in GPU_VARIABLES if variable in environ}
    launcher = next((process for process in ancestors if launcher_of(process, environ) == name), None)
    theirs = (launcher.environ if launcher else None) or {}
    return any(theirs.get(variable) != value for variable, value in visible.items())


def describe(process: Process) -> str:
    """Name and number, for messages."""
    return f"{process.program or process.name} (pid {process.pid})"


def read(spec: Spec, environ: Environ) -> Launch:
    """The ranks that a launcher assigned; if its variables are inconsistent, an error that lists all of them."""
    try:
        launch = spec.read(environ)
        if wrong := launch.contradiction():
            raise Contradiction(wrong)
    except Contradiction as error:
        found = [f"  {name}={environ[name]}" for name in sorted({*spec.variables, OVERRIDE}) if name in environ]
        raise UsageError(
            f"this process was started by {spec.name}, but its variables are not {spec.name}'s: {error}. Found:\n"
            + ("\n".join(found) or "  none of them")
            + "\nPass the launcher's variables on unchanged (no env -i, sudo, su -, or exports of your own); or, to "
            f"run as a single process, set {OVERRIDE}=none."
        ) from error
    return launch
