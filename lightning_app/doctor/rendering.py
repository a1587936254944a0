"""The diagnosis as text."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_app.doctor.diagnosis import Diagnosis
from lightning_app.doctor.problems import problems
from lightning_app.doctor.rank_facts import Facts

COLUMNS = ("rank", "host", "node", "local", "device", "cores", "threads", "precision")


def full_report(diagnosis: Diagnosis) -> str:
    """Everything, as rank 0 reports it."""
    ranks = diagnosis.ranks
    first = ranks[0]
    lines = [table(ranks), "", f"launcher: {first.launcher}, {first.reason}"]
    lines += [f"  {key} from {source}" for key, source in first.sources.items()]
    lines += ["  other variables on rank 0: " + (", ".join(others(first)) or "none that matter")]
    lines += ["versions: " + ", ".join(f"{name} {version}" for name, version in first.versions.items())]
    lines += [f"GPUs of {first.host}: {gpus(first)}", f"memory of {first.host}: {first.memory_gib} GiB"]
    lines += [f"packed data on {first.host}: {', '.join(first.packed) or 'none'}", *rendezvous(diagnosis)]
    trouble = [*([diagnosis.failed] if diagnosis.failed else []), *problems(ranks)]
    lines += ["", "Problems:" if trouble else "No problems found."]
    lines += [f"  - {line}" for line in trouble]
    lines += ["", "To ask for help, send the output of the same command with --json."]
    return "\n".join(lines)


def short_report(rank: Facts, failed: str) -> str:
    """What a rank that could not reach rank 0 reports about itself: one line, and why."""
    sources = ", ".join(rank.sources.values())
    return f"{row_text(rank)}; {rank.launcher}: {sources}\n  {failed}"


def row_text(rank: Facts) -> str:
    """One rank in words."""
    return ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row(rank), strict=True))


def table(ranks: Sequence[Facts]) -> str:
    """One row per rank."""
    rows = [COLUMNS, *(row(rank) for rank in ranks)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, each, widths)).rstrip() for each in rows)


def row(rank: Facts) -> tuple[str, ...]:
    """The cells of a rank."""
    return (
        f"{rank.rank} of {rank.world_size}",
        rank.host,
        "?" if rank.node_rank is None else str(rank.node_rank),
        f"{rank.local_rank} of {rank.local_world_size}",
        rank.device,
        f"{rank.cores} of {rank.host_cores}" + (", bound" if rank.bound else ""),
        str(rank.threads),
        rank.precision or "none",
    )


def others(rank: Facts) -> list[str]:
    """Variables that did not decide the launch, but may explain something."""
    used = set(rank.sources.values())
    return [pair for name, value in rank.variables.items() if (pair := f"{name}={value}") not in used]


def gpus(rank: Facts) -> str:
    """The GPUs that rank 0 sees."""
    if not rank.gpus:
        return f"none visible; NVIDIA driver: {rank.nvidia_driver or 'none'}"
    seen = ", ".join(f"{gpu.name} ({gpu.capability}, {gpu.memory_gib} GiB)" for gpu in rank.gpus)
    return f"{seen}; NVIDIA driver: {rank.nvidia_driver or 'unknown'}"


def rendezvous(diagnosis: Diagnosis) -> list[str]:
    """How the ranks met, and whether their sum was right."""
    if diagnosis.ranks[0].world_size == 1:
        return ["all-reduce: not tried with one process; put mpirun, srun or torchrun before the command."]
    if diagnosis.rendezvous_seconds is None:
        return ["all-reduce: not tried: the ranks have not met"]
    lines = [f"the ranks met in {diagnosis.rendezvous_seconds:.1f} s"]
    for reduction in diagnosis.reductions:
        verdict = "right" if reduction.right else "WRONG"
        lines.append(
            f"all-reduce by {reduction.backend} of MobileNetV2's gradients (8.9 MB): {verdict}, median "
            f"{reduction.milliseconds:.1f} ms, slowest {reduction.slowest_ms:.1f} ms"
        )
    return lines
