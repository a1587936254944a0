"""SLURM: the tasks of a step that srun started."""

import re

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import INTERACTIVE, Process
from lightning_app.launchers.spec import Contradiction, Environ, Spec, numbers

# A step has a number; these have one process, though their variables describe all tasks of the job.
NOT_A_STEP = ("batch]", "interactive]", "extern]")
# The same, by number: slurm.h counts down from 0xfffffffd, and the batch step of 22.05 has no SLURM_STEP_ID at all.
NOT_A_STEP_IDS = {"", *(str(0xFFFFFFFD - kind) for kind in range(4))}
# The step's variables: SLURM_NTASKS, SLURM_NNODES and SLURM_TASKS_PER_NODE may be the whole job's.
NAMES = {
    "world_size": "SLURM_STEP_NUM_TASKS",
    "global_rank": "SLURM_PROCID",
    "local_rank": "SLURM_LOCALID",
    "node_rank": "SLURM_NODEID",
    "num_nodes": "SLURM_STEP_NUM_NODES",
}
TASKS = "SLURM_STEP_TASKS_PER_NODE"


def is_parent(process: Process, environ: Environ) -> bool:
    return process.name == "slurmstepd" and not process.program.endswith(NOT_A_STEP)


def is_boundary(process: Process) -> bool:
    """A batch script, or the shell of salloc or of `srun --pty bash`: only one task of the step has it."""
    interactive = process.program.endswith(INTERACTIVE) and "SLURM_PTY_PORT" in (process.environ or {})
    no_step = process.name == "slurmstepd" and process.program.endswith(NOT_A_STEP)
    return process.name == "slurm_script" or no_step or interactive


def has_spoken(environ: Environ) -> bool:
    return "SLURM_PROCID" in environ and environ.get("SLURM_STEP_ID", "") not in NOT_A_STEP_IDS


def read(environ: Environ) -> Launch:
    values = numbers(NAMES, environ)
    tasks = tasks_per_node(environ.get(TASKS, ""))
    if len(tasks) != values["num_nodes"] or sum(tasks) != values["world_size"] or values["node_rank"] >= len(tasks):
        raise Contradiction(f"{TASKS} does not fit the numbers of tasks and nodes")
    sources = NAMES | {"local_world_size": TASKS}
    return Launch("slurm", **values, local_world_size=tasks[values["node_rank"]], sources=sources)


def tasks_per_node(said: str) -> list[int]:
    """Turns '2(x3),1' into [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in said.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise Contradiction(f"{TASKS} is not like 2(x3),1")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def job_id(environ: Environ, launch: Launch, launcher: str) -> str | None:
    """SLURM numbers its steps, separately on each cluster."""
    if "SLURM_STEP_ID" not in environ:
        return None
    parts = [environ.get("SLURM_CLUSTER_NAME", ""), environ["SLURM_JOB_ID"], environ["SLURM_STEP_ID"]]
    return "-".join(filter(None, [*parts, environ.get("SLURM_RESTART_COUNT", "0")]))


def forgotten_srun(environ: Environ) -> str:
    """A hint for a single process in a job of several tasks; otherwise empty."""
    tasks = environ.get("SLURM_NTASKS", "")
    if not tasks.isdecimal() or int(tasks) < 2:
        return ""
    return f"this is one process, but the SLURM job has {tasks} tasks: put srun (or mpirun) before python."


def allocation(environ: Environ) -> str | None:
    """The job of this process, as squeue and scontrol name it; None outside a job.

    The last task of an array has the array's number, which would address all its tasks.
    """
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID")


SPEC = Spec(
    name="slurm",
    variables=(*NAMES.values(), TASKS, "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_NTASKS"),
    is_parent=is_parent,
    has_spoken=has_spoken,
    read=read,
    job_id=job_id,
    more_cores=lambda environ, cores: f"srun --cpus-per-task={cores}, or --cpu-bind=none",
    is_boundary=is_boundary,
)
