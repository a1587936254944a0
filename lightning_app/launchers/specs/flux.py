"""Flux: the tasks of `flux run` and `flux submit`. Variables as in flux-environment(7); we have not run it."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.spec import Contradiction, Environ, Spec, numbers

NAMES = {"world_size": "FLUX_JOB_SIZE", "global_rank": "FLUX_TASK_RANK", "local_rank": "FLUX_TASK_LOCAL_ID"}
NODES = {"num_nodes": "FLUX_JOB_NNODES"}


def read(environ: Environ) -> Launch:
    """No variable says how many tasks this node has, so all nodes have to have equally many."""
    ranks, nodes = numbers(NAMES, environ), numbers(NODES, environ)["num_nodes"]
    if not nodes or ranks["world_size"] % nodes:
        raise Contradiction("FLUX_JOB_NNODES does not divide FLUX_JOB_SIZE, and nothing else tells the tasks of a node")
    one = nodes == 1
    return Launch(
        "flux",
        **ranks,
        local_world_size=ranks["world_size"] // nodes,
        node_rank=0 if one else None,
        num_nodes=1 if one else None,
        sources=NAMES | {"local_world_size": NODES["num_nodes"]},
    )


def job_id(environ: Environ, launch: Launch, launcher: str) -> str | None:
    """The path also names the Flux instances around the job; older versions have none."""
    return environ.get("FLUX_JOB_ID_PATH") or environ.get("FLUX_JOB_ID")


SPEC = Spec(
    name="flux",
    variables=(*NAMES.values(), *NODES.values(), "FLUX_JOB_ID"),
    is_parent=lambda process, environ: process.name == "flux-shell",
    has_spoken=lambda environ: NAMES["global_rank"] in environ,
    read=read,
    job_id=job_id,
    more_cores=lambda environ, cores: f"flux run --cores-per-task={cores}, or -o cpu-affinity=off",
    suffices=True,
)
