"""MPICH and Intel MPI: their ranks are children of a proxy, whatever mpiexec is called."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import MPI_PROGRAMS, Process
from lightning_app.launchers.spec import Environ, Spec, of_mpi

PROGRAMS = {"hydra_pmi_proxy", "pmi_proxy"}
NAMES = {
    "world_size": "PMI_SIZE",
    "global_rank": "PMI_RANK",
    "local_rank": "MPI_LOCALRANKID",
    "local_world_size": "MPI_LOCALNRANKS",
}


def is_parent(process: Process, environ: Environ) -> bool:
    names = {process.name, process.program}
    mpich = "PMI_RANK" in environ and "OMPI_COMM_WORLD_RANK" not in environ
    return bool(names & PROGRAMS) or (bool(names & MPI_PROGRAMS) and mpich)


def has_spoken(environ: Environ) -> bool:
    """srun --mpi=pmi2 sets only the first of these."""
    return "PMI_RANK" in environ and "MPI_LOCALRANKID" in environ


def read(environ: Environ) -> Launch:
    return of_mpi("hydra", NAMES, environ)


def job_id(environ: Environ, launch: Launch, launcher: str) -> str | None:
    """Intel MPI names its jobs. MPICH does not: on one node, its proxy's pid identifies the job, if it is visible."""
    return environ.get("I_MPI_HYDRA_UUID") or (launcher if launch.num_nodes == 1 and launcher else None)


def more_cores(environ: Environ, cores: int) -> str:
    """Intel MPI binds by default, MPICH only when told to."""
    if any(name.startswith("I_MPI_") for name in environ):
        return f"mpirun -genv I_MPI_PIN 0, or -genv I_MPI_PIN_DOMAIN {cores}"
    return f"mpiexec -bind-to none, or -bind-to core:{cores}"


SPEC = Spec(
    name="hydra",
    variables=tuple(NAMES.values()),
    is_parent=is_parent,
    has_spoken=has_spoken,
    read=read,
    job_id=job_id,
    more_cores=more_cores,
)
