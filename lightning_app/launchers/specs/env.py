"""PyTorch's variables, set by a job system (Kubeflow, AzureML), by another program or by hand.

We trust them if no launcher is found. They say nothing about nodes, so the rendezvous counts them.
"""

from typing import Any

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.spec import Contradiction, Environ, Spec, numbers

NAMES = {"world_size": "WORLD_SIZE", "global_rank": "RANK"}
LOCAL_RANK, LOCAL_WORLD_SIZE = "LOCAL_RANK", "LOCAL_WORLD_SIZE"
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
LOOPBACK = ("localhost", "127.", "::1")


def has_spoken(environ: Environ) -> bool:
    """torchrun's agents set the same variables."""
    return all(name in environ for name in (*NAMES.values(), *ADDRESS)) and "TORCHELASTIC_RUN_ID" not in environ


def read(environ: Environ) -> Launch:
    missing = [name for name in ADDRESS if name not in environ]
    if missing:
        raise Contradiction(f"{', '.join(missing)}: missing")
    ranks = numbers(NAMES, environ)
    local, sources = local_ranks(environ, ranks)
    one = 1 if local["local_world_size"] == ranks["world_size"] else None
    return Launch("env", **ranks, **local, node_rank=one and 0, num_nodes=one, sources=NAMES | sources)


def local_ranks(environ: Environ, ranks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The ranks of this node, and the variables that state them."""
    local = {"local_rank": LOCAL_RANK, "local_world_size": LOCAL_WORLD_SIZE}
    if LOCAL_WORLD_SIZE in environ:
        return numbers(local, environ), local
    if environ["MASTER_ADDR"].startswith(LOOPBACK):
        everyone = {"local_rank": ranks["global_rank"], "local_world_size": ranks["world_size"]}
        return everyone, {"local_rank": NAMES["global_rank"], "local_world_size": NAMES["world_size"]}
    if LOCAL_RANK in environ:
        raise Contradiction(
            f"{LOCAL_WORLD_SIZE}: missing; it is the number of ranks on this node, which nothing else tells if "
            "MASTER_ADDR is another host's"
        )
    return {"local_rank": 0, "local_world_size": 1}, {}  # one process per node, like Kubeflow's pods


def job_id(environ: Environ, launch: Launch, launcher: str) -> str:
    """No two jobs can have the same port on the same host."""
    return ":".join(environ[name] for name in ADDRESS)


SPEC = Spec(
    name="env",
    variables=(*NAMES.values(), LOCAL_RANK, LOCAL_WORLD_SIZE, *ADDRESS),
    is_parent=lambda process, environ: False,
    has_spoken=has_spoken,
    read=read,
    job_id=job_id,
    suffices=True,
)
