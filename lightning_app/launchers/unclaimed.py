"""Rank variables of a process that no launcher among its parents started."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_app.errors import UsageError
from lightning_app.launchers.processes import OVERRIDE, Process
from lightning_app.launchers.spec import Environ
from lightning_app.launchers.specs import SPECS

# They set variables for the processes they start; anything else they pass down, they inherited.
SETTERS = {"sshd", "dropbear", "slurmstepd"}
# Size and rank of launchers that we cannot use, and of incomplete sets. Cray's aprun and bare PMIx give no size.
OTHER_RANKS = (
    ("WORLD_SIZE", "RANK"),
    ("WORLD_SIZE", "LOCAL_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("", "ALPS_APP_PE"),
    ("", "PMIX_RANK"),
)


def launcher_by_variables_alone(environ: Environ) -> str:
    """A launcher whose variables suffice, or `none`.

    Args:
        environ: the variables meant for this process.

    Raises:
        UsageError: this is one of several ranks of an unknown job: each would train alone.
    """
    if found := next((spec.name for spec in SPECS.values() if spec.suffices and spec.has_spoken(environ)), None):
        return found
    if unused := unused_ranks(environ):
        raise UsageError(
            f"this process is one of several ranks ({', '.join(unused)}), but no launcher that we know started it, so "
            "each rank would train alone. Start the ranks with mpirun, srun or torchrun; or set RANK, WORLD_SIZE, "
            "LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT for each of them; or name the launcher whose "
            f"variables to trust: {OVERRIDE}={'|'.join(SPECS)}. If it is a single process: {OVERRIDE}=none."
        )
    return "none"


def unused_ranks(environ: Environ) -> list[str]:
    """The variables that make a process one of several."""
    pairs = [*(spec.variables[:2] for spec in SPECS.values() if spec.has_spoken(environ)), *OTHER_RANKS]
    several = [rank for size, rank in pairs if rank in environ and is_one_of_several(environ, size, rank)]
    return [f"{rank}={environ[rank]}" for rank in dict.fromkeys(several)]


def is_one_of_several(environ: Environ, size: str, rank: str) -> bool:
    """Whether there is another rank, as far as the variables say."""
    return not size or environ[rank] != "0" or environ.get(size, "1") != "1"


def set_below(environ: Environ, ancestors: Sequence[Process]) -> Environ:
    """The variables that were set below the last of these parents, which passed the others down."""
    *below, top = ancestors
    start = below[-1].environ if below else environ
    handed_down = start if top.environ is None or {top.name, top.program} & SETTERS else top.environ
    return {name: value for name, value in environ.items() if (handed_down or {}).get(name) != value}
