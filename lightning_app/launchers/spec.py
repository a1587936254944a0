"""How launchers differ: the form that each file in specs/ fills in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import Process

Environ = Mapping[str, str]


class Contradiction(ValueError):
    """The launcher's variables are missing, not numbers, or inconsistent. Detection prints them."""


@dataclass(frozen=True)
class Spec:
    """One launcher.

    Attributes:
        name: as in `LIGHTNING_APP_LAUNCHER`.
        variables: all that are read, world size and rank first; printed if they contradict each other.
        is_parent: whether a parent process is this launcher, given the variables of the process in question.
        has_spoken: whether its variables are set. Asked only if parents are not visible.
        read: the ranks; raises Contradiction.
        job_id: a name that all ranks of the job share and no other job within reach has, or None. Gets the launch, and
            what distinguishes the launcher's process from all others on this host, if it is visible; all ranks of a
            node agree on that.
        suffices: its variables are trusted if no launcher is found among the parents.
        more_cores: what to add to its command so that each rank gets this many cores, if it binds ranks to fewer.
        is_boundary: whether processes below a parent process are without a launcher, whatever they inherited.
    """

    name: str
    variables: tuple[str, ...]
    is_parent: Callable[[Process, Environ], bool]
    has_spoken: Callable[[Environ], bool]
    read: Callable[[Environ], Launch]
    job_id: Callable[[Environ, Launch, str], str | None]
    suffices: bool = False
    more_cores: Callable[[Environ, int], str] = lambda environ, cores: (
        f"let each rank use {cores} cores (taskset, cgroup)"
    )
    is_boundary: Callable[[Process], bool] = lambda process: False


def numbers(names: Mapping[str, str], environ: Environ) -> dict[str, Any]:
    """The values of variables that are all required, by field of Launch, as in `names`."""
    wrong = [name for name in names.values() if not re.fullmatch(r"\d+", environ.get(name, ""))]
    if wrong:
        raise Contradiction(f"{', '.join(wrong)}: missing or not a number")
    return {key: int(environ[name]) for key, name in names.items()}


def of_mpi(launcher: str, names: Mapping[str, str], environ: Environ) -> Launch:
    """One node if all ranks are here; otherwise the rendezvous finds the number of nodes."""
    values = numbers(names, environ)
    here = values["local_world_size"] == values["world_size"]
    return Launch(launcher, **values, node_rank=0 if here else None, num_nodes=1 if here else None, sources=names)
