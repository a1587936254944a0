"""A name that all ranks of a job share and no other job on these hosts has; ranks recognise each other by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_app.errors import UsageError
from lightning_app.launchers.detection import launcher_of
from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import Process, namespace, parents
from lightning_app.launchers.specs import SPECS

JOB_ID = "LIGHTNING_APP_JOB_ID"  # set by the user if the launcher has no name


def job_token(launch: Launch, environ: Mapping[str, str], ancestors: Sequence[Process] | None = None) -> str:
    """The name, without spaces.

    Args:
        ancestors: the parents of this process, nearest first; None to look them up.

    Raises:
        UsageError: neither the launcher nor the user gives the job a unique name.
    """
    above = tuple(parents()) if ancestors is None else ancestors
    found = environ.get(JOB_ID) or SPECS[launch.launcher].job_id(
        environ, launch, launcher_process(launch, above, environ)
    )
    found = found or environ.get("MASTER_PORT")  # the user's; we ask for a different one per job
    if not found:
        raise UsageError(
            f"{launch.launcher} gives this job no unique name (MPICH over several nodes, or with each rank in its own "
            f"container), so its ranks could connect to another job's. Set {JOB_ID} to any word that all ranks of this "
            "job share and no other job uses; or set MASTER_PORT too (a number from 1024 to 65535)."
        )
    return f"{launch.launcher}-{found}".replace(" ", "_")


def launcher_process(launch: Launch, ancestors: Sequence[Process], environ: Mapping[str, str]) -> str:
    """What distinguishes the nearest launcher from all other processes on this host; empty if it is not visible."""
    for process in ancestors:
        if found := launcher_of(process, environ):
            where = namespace(process.pid) if found == launch.launcher else ""
            return f"{process.pid}@{where}" if where else ""
    return ""
