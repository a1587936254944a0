"""Processes that Lightning starts: local rank 0 is the program, which starts the others."""

from collections.abc import Sequence

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import Process
from lightning_app.launchers.spec import Environ, Spec, numbers
from lightning_app.launchers.specs import env

# Set for each child by lightning/fabric/strategies/launchers/subprocess_script.py
VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# One node, so that local and global rank are the same.
NAMES = {"world_size": "WORLD_SIZE", "global_rank": "LOCAL_RANK", "node_rank": "NODE_RANK"}


def is_child(environ: Environ, ancestors: Sequence[Process]) -> bool:
    """Whether a Python program, the parent, set Lightning's variables for exactly this process.

    Its children have local rank 1 and up: rank 0 is the process that starts them.
    """
    variables = {name: environ.get(name) for name in VARIABLES}
    if None in variables.values() or variables["LOCAL_RANK"] == "0":
        return False
    if not ancestors:
        return "TORCHELASTIC_RUN_ID" not in environ and "RANK" not in environ
    parent = ancestors[0]
    if environ.get("RANK") not in (None, (parent.environ or {}).get("RANK")):  # not by Lightning, which sets none
        return False
    inherited = {name: (parent.environ or {}).get(name) for name in VARIABLES} == variables
    return parent.program.startswith("python ") and not inherited  # as processes.program() writes Python programs


def read(environ: Environ) -> Launch:
    values = numbers(NAMES, environ)
    local = {"local_rank": values["global_rank"], "local_world_size": values["world_size"]}
    sources = NAMES | {"local_rank": "LOCAL_RANK", "local_world_size": "WORLD_SIZE"}
    return Launch("lightning", **values, **local, num_nodes=1, sources=sources)


# Recognised only by is_child(), which detection asks before all others.
SPEC = Spec("lightning", VARIABLES, lambda process, environ: False, lambda environ: False, read, env.job_id)
