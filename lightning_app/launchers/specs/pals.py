"""HPE's Parallel Application Launch Service: mpiexec and aprun on Cray systems with PBS. We have not run it."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.spec import Environ, Spec, of_mpi

NAMES = {
    "world_size": "PMI_SIZE",
    "global_rank": "PMI_RANK",
    "local_rank": "PMI_LOCAL_RANK",
    "local_world_size": "PMI_LOCAL_SIZE",
}


def read(environ: Environ) -> Launch:
    return of_mpi("pals", NAMES, environ)


SPEC = Spec(
    name="pals",
    variables=(*NAMES.values(), "PALS_RANKID", "PALS_APID"),
    is_parent=lambda process, environ: process.name == "palsd",
    has_spoken=lambda environ: "PALS_RANKID" in environ and NAMES["global_rank"] in environ,
    read=read,
    job_id=lambda environ, launch, launcher: environ.get("PALS_APID"),
    more_cores=lambda environ, cores: f"mpiexec --depth {cores} --cpu-bind depth, or --cpu-bind none",
    suffices=True,
)
