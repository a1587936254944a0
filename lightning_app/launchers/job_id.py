"""A word that all ranks of a job know and no other job on these hosts has."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lightning_app.launchers.detection import launcher_of
from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import parents

# What Open MPI calls the job; several jobs of one launcher differ in it.
NAMESPACES = ("PMIX_NAMESPACE", "PMI_KVSNAME", "PMI_JOBID")


def job_token(launch: Launch, environ: Mapping[str, str]) -> str:
    """The token, without spaces.

    SLURM numbers its steps, each cluster on its own. Under mpirun on one node, all ranks have the same launcher above
    them, so its process number tells jobs apart; across nodes MPI hands out a random token instead, unless the user
    has set MASTER_ADDR: then Open MPI's name of the job is all there is, with MPICH nothing but the launcher's name.
    """
    if "SLURM_STEP_ID" in environ and launch.launcher == "slurm":
        parts = [environ.get("SLURM_CLUSTER_NAME", ""), environ["SLURM_JOB_ID"], environ["SLURM_STEP_ID"]]
        parts.append(environ.get("SLURM_RESTART_COUNT", "0"))
    else:
        namespace = next((environ[name] for name in NAMESPACES if name in environ), "")
        above = next((process.pid for process in parents() if launcher_of(process, environ)), os.getppid())
        parts = [namespace] if launch.num_nodes != 1 else [namespace, str(above)]
    return "-".join([launch.launcher, *filter(None, parts)]).replace(" ", "_")
