"""Open MPI 4 and 5: mpirun, and the daemons that it starts on other nodes."""

from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import MPI_PROGRAMS, Process
from lightning_app.launchers.spec import Environ, Spec, of_mpi

PROGRAMS = {"prterun", "prted", "prte", "orted", "orterun"}
# OMPI_COMM_WORLD_NODE_RANK is the rank within the node; no variable gives the index of the node.
NAMES = {
    "world_size": "OMPI_COMM_WORLD_SIZE",
    "global_rank": "OMPI_COMM_WORLD_RANK",
    "local_rank": "OMPI_COMM_WORLD_LOCAL_RANK",
    "local_world_size": "OMPI_COMM_WORLD_LOCAL_SIZE",
}


def is_parent(process: Process, environ: Environ) -> bool:
    """Open MPI 4 starts its ranks from mpirun itself; MPICH's mpirun is recognised by its variables."""
    names = {process.name, process.program}
    mpich = "PMI_RANK" in environ and "OMPI_COMM_WORLD_RANK" not in environ
    return bool(names & PROGRAMS) or (bool(names & MPI_PROGRAMS) and not mpich)


def read(environ: Environ) -> Launch:
    return of_mpi("openmpi", NAMES, environ)


def job_id(environ: Environ, launch: Launch, launcher: str) -> str | None:
    """The job's name, and an address that an Open MPI process holds for as long as it runs.

    The name contains mpirun's pid, which other jobs may share if each runs in a container.
    """
    held = "PMIX_SERVER_URI2" if launch.num_nodes == 1 else "OMPI_MCA_orte_hnp_uri"  # one per node; only in Open MPI 4
    address = environ.get(held, "").partition(";")[2].partition(";")[0]
    parts = [environ.get("PMIX_NAMESPACE", ""), address or (launcher if launch.num_nodes == 1 else "")]
    return "-".join(filter(None, parts)) or None


SPEC = Spec(
    name="openmpi",
    variables=tuple(NAMES.values()),
    is_parent=is_parent,
    has_spoken=lambda environ: "OMPI_COMM_WORLD_RANK" in environ,
    read=read,
    job_id=job_id,
    more_cores=lambda environ, cores: f"mpirun --bind-to none, or --map-by slot:PE={cores}",
)
