"""Ratios between modes of one machine, round by round: speed-up, efficiency, and the share of the ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.spread import Spread, median_and_range
from lightning_app.compare.trials.modes import Mode


@dataclass(frozen=True)
class Scaling:
    """How a mode compares with others on its machine; None if there is nothing to compare it with.

    Attributes:
        speedup: over the baseline.
        efficiency: over one process with as many threads, divided by the ranks: the speed-up of a step with the same
            global batch, or, for weak scaling, with one that grows with the ranks.
        of_ceiling: over equally many serial processes at once.
    """

    speedup: Spread | None = None
    efficiency: Spread | None = None
    of_ceiling: Spread | None = None


def scaling(runs: ModeRuns, modes: Sequence[ModeRuns]) -> Scaling:
    baseline = baseline_of(runs, modes)
    if not runs.steps or baseline is None:
        return Scaling()
    single, bound = single_process(runs, modes), ceiling(runs, modes)
    over_single = ratio(runs, single) if single else None
    return Scaling(
        ratio(runs, baseline),
        over_single.scaled(1 / runs.mode.count) if over_single else None,
        ratio(runs, bound) if bound else None,
    )


def ratio(above: ModeRuns, below: ModeRuns) -> Spread | None:
    """The ratio of their images/s within each round, so that a slow round slows both; None across machines."""
    if above.machine != below.machine:
        return None
    shared = above.rates.keys() & below.rates.keys()
    return median_and_range(above.rates[number] / below.rates[number] for number in shared)


def baseline_of(runs: ModeRuns, modes: Sequence[ModeRuns]) -> ModeRuns | None:
    """The first mode of the same machine; ratios never cross machines."""
    return next((other for other in modes if other.machine == runs.machine and other.steps), None)


def single_process(runs: ModeRuns, modes: Sequence[ModeRuns]) -> ModeRuns | None:
    """The one-process mode whose process is like each of `runs`: same device, same number of threads."""
    if runs.mode.kind not in ("ddp", "serial"):
        return None
    singles = (other for other in modes if other.mode.kind in ("cpu", "gpu") and other.steps)
    return next((other for other in singles if other.machine == runs.machine and same_process(other, runs)), None)


def same_process(one: ModeRuns, other: ModeRuns) -> bool:
    """Whether their processes compute on the same device with the same number of threads."""
    mine, its = (runs.any_run["ranks"][0] for runs in (one, other) if runs.any_run)
    return (mine["device"], mine["threads"]) == (its["device"], its["threads"])


def ceiling(runs: ModeRuns, modes: Sequence[ModeRuns]) -> ModeRuns | None:
    """As many independent processes at once as `runs` has ranks sharing a batch."""
    if runs.mode.kind != "ddp" or runs.mode.weak:
        return None
    wanted = (runs.machine, Mode("serial", runs.mode.count))
    return next((other for other in modes if (other.machine, other.mode) == wanted and other.steps), None)
