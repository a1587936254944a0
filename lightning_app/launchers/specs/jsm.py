"""IBM's Job Step Manager: jsrun. Variables as HPC sites document them; we have not run it."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.spec import Environ, Spec, of_mpi

NAMES = {
    "world_size": "JSM_NAMESPACE_SIZE",
    "global_rank": "JSM_NAMESPACE_RANK",
    "local_rank": "JSM_NAMESPACE_LOCAL_RANK",
    "local_world_size": "JSM_NAMESPACE_LOCAL_SIZE",
}


def read(environ: Environ) -> Launch:
    return of_mpi("jsm", NAMES, environ)


def job_id(environ: Environ, launch: Launch, launcher: str) -> str | None:
    """An LSF job may run several jsruns at once, so its id is not enough."""
    parts = [environ.get("LSB_JOBID"), environ.get("PMIX_NAMESPACE")]
    return "-".join(filter(None, parts)) if parts[1] else None


SPEC = Spec(
    name="jsm",
    variables=(*NAMES.values(), "LSB_JOBID"),
    is_parent=lambda process, environ: process.name == "jsmd",
    has_spoken=lambda environ: NAMES["global_rank"] in environ,
    read=read,
    job_id=job_id,
    more_cores=lambda environ, cores: f"jsrun --cpu_per_rs {cores} --bind packed:{cores}, or --bind none",
    suffices=True,
)
