"""Problems, from the facts of all ranks: a pure function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from lightning_app.doctor.host import NETWORK_FILE_SYSTEMS
from lightning_app.doctor.rank_facts import Facts
from lightning_app.launchers.specs import SPECS, env
from lightning_app.launchers.specs.slurm import forgotten_srun

NEEDED_SHM_MIB = 256  # NCCL's buffers between the GPUs of a node
SAME_EVERYWHERE = ("python", "laptop-to-cluster", "torch", "torchvision", "lightning", "nccl")


def problems(ranks: Sequence[Facts]) -> list[str]:
    """One line for each thing that would fail, or cost much, and how to fix it."""
    found = [line for check in CHECKS for line in check(ranks)]
    return list(dict.fromkeys(found))


def refused(ranks: Sequence[Facts]) -> list[str]:
    """A fit would not start."""
    return [f"rank {rank.rank} on {rank.host} would not run: {rank.refused}" for rank in ranks if rank.refused]


def single_process_of_a_job(ranks: Sequence[Facts]) -> list[str]:
    """A single process in a job of several tasks."""
    said = forgotten_srun(ranks[0].variables)
    return [said] if said and len(ranks) == 1 and ranks[0].launcher == "none" else []


def crowded_cores(ranks: Sequence[Facts]) -> list[str]:
    """More ranks on a host than it has cores for."""
    return [
        f"{len(here)} ranks share {here[0].cores} usable cores of {host}: start fewer ranks there, or ask for more "
        "cores (--cpus-per-task)."
        for host, here in by_host(ranks).items()
        if not here[0].bound and len(here) > here[0].cores
    ]


def bound_to_one_core(ranks: Sequence[Facts]) -> list[str]:
    """The default of Open MPI and Intel MPI, and of SLURM without --cpus-per-task."""
    return [
        f"each rank on {host} is bound to one of {here[0].host_cores} cores: {more_cores(here)}."
        for host, here in by_host(ranks).items()
        if here[0].bound and here[0].cores == 1 and here[0].host_cores > len(here)
    ]


def more_cores(here: Sequence[Facts]) -> str:
    """The launcher option that gives a host's ranks more cores."""
    spec = SPECS.get(here[0].launcher, env.SPEC)
    return spec.more_cores(here[0].variables, max(2, here[0].host_cores // len(here)))


def shared_gpus(ranks: Sequence[Facts]) -> list[str]:
    """Two ranks on one GPU: NCCL refuses that."""
    users = defaultdict(list)
    for rank in ranks:
        if rank.gpu is not None:
            gpu = rank.gpus[rank.gpu]
            users[rank.host, gpu.uuid or str(rank.gpu)].append(rank)
    return [
        f"ranks {numbers(sharing)} share one GPU of {host} ({sharing[0].device}): start as many ranks per node as it "
        "has GPUs, and make sure that each sees its own, or all (CUDA_VISIBLE_DEVICES)."
        for (host, _), sharing in users.items()
        if len(sharing) > 1
    ]


def uneven_gpus(ranks: Sequence[Facts]) -> list[str]:
    """Ranks with and without GPUs cannot use one backend."""
    without = [rank for rank in ranks if rank.gpu is None]
    if not without or len(without) == len(ranks):
        return []
    return [f"ranks {numbers(without)} (on {hosts(without)}) see no GPU while others do: ask for GPUs on every node."]


def unusable_gpus(ranks: Sequence[Facts]) -> list[str]:
    """A driver without a GPU for torch, or a GPU that this torch is not built for."""
    found = []
    for host, here in by_host(ranks).items():
        first = here[0]
        if first.nvidia_driver and not first.gpus:
            hidden = first.variables.get("CUDA_VISIBLE_DEVICES")
            why = f"CUDA_VISIBLE_DEVICES={hidden}" if hidden is not None else f"CUDA: {first.versions['cuda']}"
            found.append(
                f"{host} has an NVIDIA driver ({first.nvidia_driver}), but torch {first.versions['torch']} sees no GPU "
                f"({why}): ask SLURM for one, or install a torch built for a CUDA that this driver supports."
            )
        found += [
            f"{gpu.name} on {host} is {gpu.capability}, but torch {first.versions['torch']} is built for "
            f"{', '.join(first.cuda_archs)}: install a torch for an older CUDA (pip install torch --index-url "
            "https://download.pytorch.org/whl/cu126)."
            for gpu in first.gpus
            if first.cuda_archs and not runs_on(gpu.capability, first.cuda_archs)
        ]
    return found


def runs_on(capability: str, archs: Sequence[str]) -> bool:
    """Code for sm_80 also runs on sm_86, but not on sm_90; compute_80 can be compiled for anything newer."""
    wanted = int(capability.removeprefix("sm_"))
    for arch in archs:
        kind, _, number = arch.partition("_")
        built = int("".join(filter(str.isdigit, number)))
        if built <= wanted and (kind == "compute" or built // 10 == wanted // 10):
            return True
    return False


def differing_versions(ranks: Sequence[Facts]) -> list[str]:
    """Nodes with different environments."""
    found = []
    for name in SAME_EVERYWHERE:
        known = defaultdict(list)
        for rank in ranks:
            known[rank.versions[name]].append(rank)
        if len(known) > 1:
            each = "; ".join(f"{version} on {hosts(those)}" for version, those in known.items())
            found.append(f"{name} differs: {each}. Use one environment on a file system that all nodes see.")
    return found


def missing_mpi4py(ranks: Sequence[Facts]) -> list[str]:
    """Several nodes under mpirun need it, once."""
    first = ranks[0]
    if first.num_nodes is not None or "MASTER_ADDR" in first.variables:
        return []
    return [
        f"mpi4py on {rank.host}: {rank.versions['mpi library']}. Several nodes under mpirun need it to find each "
        "other: pip install 'laptop-to-cluster[mpi]', or set MASTER_ADDR (mpirun -x MASTER_ADDR=...)."
        for rank in ranks
        if rank.versions["mpi library"].startswith("none")
    ]


def small_shm(ranks: Sequence[Facts]) -> list[str]:
    """Containers get 64 MB by default."""
    return [
        f"/dev/shm on {host} has {here[0].shm_mib} MiB left, and NCCL needs {NEEDED_SHM_MIB} or more for {len(here)} "
        "GPUs: docker run --shm-size=8g, or NCCL_SHM_DISABLE=1 (slower)."
        for host, here in by_host(ranks).items()
        if len(here) > 1 and here[0].gpus and here[0].shm_mib < NEEDED_SHM_MIB
    ]


def no_packed_data(ranks: Sequence[Facts]) -> list[str]:
    """Only a reminder: a fit packs what it finds."""
    without = [here[0] for here in by_host(ranks).values() if not here[0].packed]
    if not without:
        return []
    return [
        f"no packed data on {hosts(without)}: a fit will download and pack it there. If these hosts have no network, "
        "run `python -m lightning_app prepare` on a login node first."
    ]


def network_runs(ranks: Sequence[Facts]) -> list[str]:
    """Checkpoints over the network."""
    kind = ranks[0].runs_file_system
    if kind not in NETWORK_FILE_SYSTEMS:
        return []
    return [
        f"runs/ is on {kind}: safe, but each checkpoint takes as long as that file system needs; --runs_dir names "
        "another folder."
    ]


CHECKS: Sequence[Callable[[Sequence[Facts]], list[str]]] = (
    refused,
    single_process_of_a_job,
    shared_gpus,
    uneven_gpus,
    unusable_gpus,
    differing_versions,
    missing_mpi4py,
    crowded_cores,
    bound_to_one_core,
    small_shm,
    no_packed_data,
    network_runs,
)


def by_host(ranks: Sequence[Facts]) -> dict[str, list[Facts]]:
    """The ranks on each host."""
    groups: dict[str, list[Facts]] = defaultdict(list)
    for rank in ranks:
        groups[rank.host].append(rank)
    return groups


def numbers(ranks: Sequence[Facts]) -> str:
    """Their numbers."""
    return ", ".join(str(rank.rank) for rank in ranks)


def hosts(ranks: Sequence[Facts]) -> str:
    """Their hosts, each once."""
    return ", ".join(by_host(ranks))
