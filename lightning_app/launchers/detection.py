"""Which launcher started this process, and what rank it gave it.

The nearest launcher among the parent processes is asked, and only its own variables are read: a batch script, an
salloc shell, a tmux server or a login file hand down ranks that were never meant for us. Only the standard library
is imported, so that this runs before torch and lightning, which read ranks at import.

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
# What runs below these was started from a terminal, not by the launcher above them.
TERMINAL_PROGRAMS = {"tmux: server", "screen", "SCREEN", "sshd", "dropbear"}


@cache
def this_launch() -> Launch:
    """This process: asked once, so that nothing that is done to os.environ later changes who it is.

    Raises:
        UsageError: as identify().
    """
    return identify(os.environ, tuple(parents()))


def identify(environ: Environ, ancestors: Sequence[Process]) -> Launch:
    """Who a process is.

    Args:
        environ: its environment.
        ancestors: its parents, nearest first; none where they cannot be seen, then the variables alone decide.

    Raises:
        UsageError: the variables of the launcher are missing, no numbers, or contradict each other; or this is one of
            several ranks, of a launcher that we do not know.
    """
    name, reason = choose_launcher(environ, ancestors)
    if name == "none":
        return replace(ALONE, reason=reason, warning=forgotten_srun(environ))
    return replace(read(SPECS[name], environ), reason=reason, own_gpus=has_own_gpus(name, environ, ancestors))


def choose_launcher(environ: Environ, ancestors: Sequence[Process]) -> tuple[str, str]:
    """The launcher that is nearest to this process, and why it."""
    # Before the override, which Lightning's children inherit: as `none` each would start children of its own.
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
    """What the user insists on."""
    if name not in NAMES:
        raise UsageError(f"{OVERRIDE} is {name!r}; expected one of {', '.join(NAMES)}, or leave it unset.")
    return name, f"set by {OVERRIDE}"


def launcher_of(process: Process, environ: Environ) -> str | None:
    """What a parent process means for those below it; None if it is nothing but a parent."""
    specs = SPECS.values()
    if {process.name, process.program} & TERMINAL_PROGRAMS or any(spec.is_boundary(process) for spec in specs):
        return "none"
    return next((spec.name for spec in specs if spec.is_parent(process, environ)), None)


def beyond(environ: Environ, ancestors: Sequence[Process]) -> dict[str, str]:
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


def by_variables(environ: Environ) -> str:
    """The launcher that the variables speak of."""
    return next((spec.name for spec in SPECS.values() if spec.has_spoken(environ)), "none")


def has_own_gpus(name: str, environ: Environ, ancestors: Sequence[Process]) -> bool:
    """Whether the GPUs that this process sees were chosen below its launcher, or by a launcher that hides its own.

    Numbers, UUIDs and MIG's ids are alike here: nothing but the difference counts.
    """
    visible = {variable: environ[variable] for variable in GPU_VARIABLES if variable in environ}
    launcher = next((process for process in ancestors if launcher_of(process, environ) == name), None)
    theirs = (launcher.environ if launcher else None) or {}
    return any(theirs.get(variable) != value for variable, value in visible.items())


def describe(process: Process) -> str:
    """Name and number, for messages."""
    return f"{process.program or process.name} (pid {process.pid})"


def read(spec: Spec, environ: Environ) -> Launch:
    """The ranks that a launcher gave; where its variables make no sense, an error with all that were found."""
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
