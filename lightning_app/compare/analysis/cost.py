"""What a mode costs: core-hours, GPU-hours and energy of a whole run, and of the next doubling of devices.

A cluster bills devices for as long as a job holds them, whether they work or wait. A core-hour is one thread of one
process for an hour of wall time, from the start of the command to its end; a GPU-hour is one rank's GPU for that long.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightning_app.compare.analysis.mode_runs import ModeRuns, Run
from lightning_app.compare.analysis.whole_runs import times_to_accuracy

HOUR = 3600
IMAGES = 1_000_000  # for which cost and time of counted steps are stated


@dataclass(frozen=True)
class Devices:
    """What a run holds: one core per thread of each process, and one GPU per rank on a GPU."""

    cores: int
    gpus: int

    @property
    def kind(self) -> str:
        """The scarce, and so billed, kind of device: GPU if there are any, else core."""
        return "GPU" if self.gpus else "core"

    @property
    def count(self) -> int:
        """How many of that kind."""
        return self.gpus or self.cores


def devices_of(run: Run) -> Devices:
    ranks = run["ranks"]
    return Devices(sum(rank["threads"] for rank in ranks), sum(rank["device"] != "cpu" for rank in ranks))


@dataclass(frozen=True)
class ModeCost:
    """Seconds that a mode holds its devices.

    Attributes:
        whole: of a whole run, median over the seeds; None without whole runs.
        to_target: until the target accuracy, median over the seeds; None if a seed never reached it.
        per_million: for a million images at the rate of the counted steps; None without them.
    """

    devices: Devices
    whole: float | None
    to_target: float | None
    per_million: float | None

    def hours(self, seconds: float | None, kind: str) -> float | None:
        """Core-hours or GPU-hours (`kind` as in Devices) for this many seconds; None if the mode has none of them."""
        count = self.devices.gpus if kind == "GPU" else self.devices.cores
        return seconds * count / HOUR if seconds is not None and count else None


def cost_of(runs: ModeRuns, target: float | None) -> ModeCost | None:
    """None for a mode that was not run."""
    if runs.any_run is None:
        return None
    reached = times_to_accuracy(runs, target) if target else []
    known = [seconds for seconds in reached if seconds is not None]
    rates = runs.images_per_second
    return ModeCost(
        devices_of(runs.any_run),
        runs.wall_time.median if runs.wall_time else None,
        statistics.median(known) if known and len(known) == len(reached) else None,
        IMAGES / rates.median if rates else None,
    )


def energy_of(runs: ModeRuns, device: str) -> tuple[float | None, str]:
    """Joules of a whole run from training's set-up to its end, median over the seeds, or None and the reason.

    `device` is gpu (the ranks' GPUs) or cpu (all processors of the ranks' nodes, whoever uses them).
    """
    readings = [
        [rank[f"{device}_energy"] for rank in run["ranks"] if rank.get(f"{device}_energy")]
        for run in runs.whole.values()
    ]
    if not any(readings):
        return None, "no whole run has measured it"
    reasons = [each["reason"] for run in readings for each in run if each["joules"] is None]
    if reasons:
        return None, reasons[0]
    return statistics.median(sum(each["joules"] for each in run) for run in readings), ""


@dataclass(frozen=True)
class Marginal:
    """From one number of devices to the next larger one.

    Attributes:
        smaller, larger: the fastest modes with these numbers of devices.
        devices: of each, of one kind.
        by: what was timed: `whole runs` or `counted steps`.
        time: the larger's divided by the smaller's; below 1, it saves time.
        hours: the larger's device-hours divided by the smaller's; above 1, it costs more.
    """

    smaller: ModeRuns
    larger: ModeRuns
    devices: tuple[int, int]
    kind: str
    by: str
    time: float
    hours: float


def marginals(modes: Sequence[ModeRuns]) -> list[Marginal]:
    """For each machine and kind of device, in ascending order of devices."""
    groups: dict[tuple[str, str], dict[int, list[ModeRuns]]] = {}
    for runs in modes:
        if runs.any_run and runs.mode.kind in ("cpu", "gpu", "ddp") and not runs.mode.weak:
            devices = devices_of(runs.any_run)
            groups.setdefault((runs.machine, devices.kind), {}).setdefault(devices.count, []).append(runs)
    found = []
    for (_, kind), by_count in groups.items():
        fastest = [(count, min(by_count[count], key=seconds_of)) for count in sorted(by_count)]
        found += [marginal(*smaller, *larger, kind) for smaller, larger in pairwise(fastest)]
    return [each for each in found if each]


def seconds_of(runs: ModeRuns) -> float:
    """For choosing the fastest: of a whole run, else of a million images."""
    cost = cost_of(runs, None)
    assert cost
    return cost.whole or cost.per_million or float("inf")


def marginal(few: int, smaller: ModeRuns, many: int, larger: ModeRuns, kind: str) -> Marginal | None:
    """None if the two were not timed in the same way."""
    one, other = cost_of(smaller, None), cost_of(larger, None)
    assert one
    assert other
    for by, before, after in (
        ("whole runs", one.whole, other.whole),
        ("counted steps", one.per_million, other.per_million),
    ):
        if before and after:
            time = after / before
            return Marginal(smaller, larger, (few, many), kind, by, time, time * many / few)
    return None
