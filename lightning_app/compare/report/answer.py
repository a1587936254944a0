"""The answer in one sentence, made from the figures and their intervals, and its limits."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightning_app.compare.analysis.cost import cost_of
from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.significance import LEAST_SEEDS
from lightning_app.compare.analysis.speedup import ratio
from lightning_app.compare.analysis.spread import Spread, median_and_range
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.formatting import number, percent
from lightning_app.compare.report.method import revisions

UNLIKE_CORES = 1.1  # how many times as long the slowest core takes as the fastest
BUSY = 0.25  # cores
NOTHING = "Nothing could be compared: no two modes of one machine were timed in the same way."


@dataclass(frozen=True)
class Contest:
    """Two modes of one machine that were timed in the same way.

    Attributes:
        times: the speed ratio, by round or seed.
        count: rounds or seeds that both have.
        by: `whole runs` or `training steps`.
    """

    baseline: ModeRuns
    faster: ModeRuns
    times: Spread
    count: int
    by: str


def answer(comparison: Comparison) -> str:
    """One sentence."""
    contest = find_contest(comparison)
    if contest is None:
        return NOTHING
    first, speed = comparison.name(contest.baseline), contest.times
    verb = "trains" if contest.by == "whole runs" else "takes training steps"
    name = comparison.name(contest.faster)
    if contest.count > 1 and speed.low > 1:
        said = f"{name} {verb} {number(speed.median)} times as fast as {first} {range_text(contest)}"
    elif contest.count == 1 and speed.median > 1:
        said = f"{name} was {number(speed.median)} times as fast as {first} in one {unit(contest)}, so without a range"
    else:
        said = f"no mode was faster than {first} in every {unit(contest)}: {name} at {number(speed.median)} times its "
        said += f"speed {range_text(contest)}"
    return f"{said}{cost_clause(contest)}; {accuracy_clause(comparison, contest)}."


def find_contest(comparison: Comparison) -> Contest | None:
    """The fastest mode against the first, by whole runs if both have them, else by counted steps."""
    able = [runs for runs in comparison.modes if runs.mode.kind != "serial" and not runs.mode.weak]
    for by, times_of, has in (
        ("whole runs", whole_run_ratio, lambda runs: runs.whole),
        ("training steps", ratio, lambda runs: runs.steps),
    ):
        timed = [runs for runs in able if has(runs)]
        found = [
            Contest(timed[0], runs, times, len(has(runs).keys() & has(timed[0]).keys()), by)
            for runs in timed[1:]
            if (times := times_of(runs, timed[0]))
        ]
        if found:
            return max(found, key=lambda contest: contest.times.median)
    return None


def whole_run_ratio(runs: ModeRuns, baseline: ModeRuns) -> Spread | None:
    """The ratio of wall times, seed by seed on one machine."""
    if runs.machine != baseline.machine:
        return None
    shared = runs.whole.keys() & baseline.whole.keys()
    return median_and_range(baseline.whole[seed]["seconds"] / runs.whole[seed]["seconds"] for seed in shared)


def unit(contest: Contest) -> str:
    return "seed" if contest.by == "whole runs" else "round"


def range_text(contest: Contest) -> str:
    low, high = number(contest.times.low), number(contest.times.high)
    return f"({low} to {high} over {contest.count} {unit(contest)}{'s' if contest.count > 1 else ''})"


def cost_clause(contest: Contest) -> str:
    """The ratio of device-hours, if both hold the same kind of device."""
    one, other = (cost_of(runs, None) for runs in (contest.baseline, contest.faster))
    assert one
    assert other
    kind = other.devices.kind
    if one.devices.kind != kind:
        return (
            f", on {other.devices.count} {kind}{'s' if other.devices.count > 1 else ''} instead of {one.devices.kind}s"
        )
    times = other.devices.count / one.devices.count / contest.times.median
    return f", for {number(times)} times the {kind}-hours"


def accuracy_clause(comparison: Comparison, contest: Contest) -> str:
    if contest.baseline not in comparison.tested or contest.faster not in comparison.tested:
        return "accuracy was not compared"
    verdict = comparison.verdict(contest.faster)
    if verdict is None or contest.baseline is not comparison.tested[0]:
        return "accuracy was not compared"
    gap = verdict.difference.scaled(100)
    interval = f"{gap.low:+.1f} to {gap.high:+.1f} points"
    seeds = f"{verdict.seeds} seed{'s' if verdict.seeds > 1 else ''}"
    if verdict.seeds < LEAST_SEEDS:
        return f"accuracy: no claim from {seeds} ({interval})"
    if not verdict.differs:
        return f"accuracy: no difference found ({seeds}; {interval})"
    return f"accuracy: {percent(contest.faster.accuracy)} instead of {percent(contest.baseline.accuracy)} ({seeds})"


def caveats(comparison: Comparison) -> list[str]:
    """What limits the answer, each a sentence."""
    return list(every_caveat(comparison))


def every_caveat(comparison: Comparison) -> Iterator[str]:
    for runs in comparison.modes:
        if runs.reason and runs.any_run is None:
            yield f"{comparison.name(runs)} did not run: {runs.reason}."
    timed = [runs for runs in comparison.modes if runs.any_run and runs.mode.kind != "serial"]
    if any(len(runs.steps) == 1 for runs in timed):
        yield "Counted steps come from one round: a slow minute of the machine would go unnoticed."
    yield from unlike_cores(comparison)
    precisions = sorted({runs.precision for runs in timed if runs.precision})
    if len(precisions) > 1:
        each = ", ".join(f"{comparison.name(runs)} {runs.precision}" for runs in timed if runs.precision)
        yield f"The modes compute in different precisions ({each}), and part of the speed comes from that."
    if any(runs.mode.kind == "original" for runs in timed):
        yield "The original loop trains on random images: only its speed is compared."
    busy = [load for runs in timed if (load := most_other_cores(runs)) and load > BUSY]
    if busy:
        yield f"Other work kept up to {max(busy):.1f} cores busy during a run."
    if comparison.made_again:
        failures = sum(failed for _, _, failed in comparison.made_again)
        yield f"{failures} attempt{'s' if failures > 1 else ''} failed before the runs shown here."
    made_by = revisions(comparison)
    if len(made_by) > 1:
        yield f"The runs come from {len(made_by)} revisions of the code: {', '.join(made_by)}."
    elif any(revision.endswith("+") for revision in made_by):
        yield f"The code had uncommitted changes ({made_by[0]})."


def unlike_cores(comparison: Comparison) -> Iterator[str]:
    for runs in comparison.modes:
        times = runs.process_imbalance
        if times and times >= UNLIKE_CORES:
            yield (
                f"The cores differ in speed: of {runs.mode.count} equal processes at once, the slowest took "
                f"{times:.2f} times as long as the fastest ({comparison.name(runs)}), and ranks wait for the slowest."
            )


def most_other_cores(runs: ModeRuns) -> float | None:
    loads: Sequence[float] = [
        load for run in [*runs.steps.values(), *runs.whole.values()] if (load := run.get("other_cores")) is not None
    ]
    return statistics.median(loads) if loads else None
