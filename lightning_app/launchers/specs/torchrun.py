"""torchrun: agents, one per node, that start the ranks there."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import TORCHRUN_PROGRAMS, Process
from lightning_app.launchers.spec import Environ, Spec, numbers
from lightning_app.launchers.specs import env

# GROUP_* describe the agents.
NAMES = {
    "world_size": "WORLD_SIZE",
    "global_rank": "RANK",
    "local_rank": "LOCAL_RANK",
    "local_world_size": "LOCAL_WORLD_SIZE",
    "node_rank": "GROUP_RANK",
    "num_nodes": "GROUP_WORLD_SIZE",
}


def is_parent(process: Process, environ: Environ) -> bool:
    """Recognised by its program, or by the name that torch gives its agents."""
    return process.program in TORCHRUN_PROGRAMS or process.name == "pt_elastic"


def read(environ: Environ) -> Launch:
    return Launch("torchrun", **numbers(NAMES, environ), sources=NAMES)


SPEC = Spec(
    name="torchrun",
    variables=(*NAMES.values(), "TORCHELASTIC_RUN_ID"),
    is_parent=is_parent,
    has_spoken=lambda environ: "TORCHELASTIC_RUN_ID" in environ,
    read=read,
    job_id=env.job_id,  # the agent's store
)
