"""What follows from the runs: rates, ratios round by round, efficiency, shares, times, accuracies."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lightning_app.compare.analysis.significance import wilson
from lightning_app.compare.trials.modes import Mode, by_name

Run = dict[str, Any]
PARTS = ("import", "set-up", "first step", "training", "validation", "checkpoints", "test", "rest")


@dataclass(frozen=True)
class Spread:
    """A median, and how far the values reach.

    Attributes:
        low, high: least and largest, or quartiles where there are many values.
    """

    median: float
    low: float
    high: float


def over_all(values: Iterable[float]) -> Spread | None:
    """Median and range; None of nothing."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1]) if found else None


def over_steps(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    if len(values) == 1:  # statistics knows no quartiles of it before Python 3.13
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


@dataclass(frozen=True)
class Row:
    """One mode on one machine.

    Attributes:
        mode, machine: which.
        steps: its runs of counted steps, by round.
        whole: its whole runs, by seed.
        sweep: of the link between its ranks.
        reason: why it was not run, or why its last run failed; empty otherwise.
    """

    mode: Mode
    machine: str
    steps: dict[int, Run] = field(default_factory=dict)
    whole: dict[int, Run] = field(default_factory=dict)
    sweep: dict[int, Run] = field(default_factory=dict)
    reason: str = ""

    @property
    def any_run(self) -> Run | None:
        """One that was made."""
        return next(iter([*self.steps.values(), *self.whole.values()]), None)

    @cached_property
    def rates(self) -> dict[int, float]:
        """Images/s of each round."""
        return {number: rate(run) for number, run in self.steps.items()}

    @property
    def step_times(self) -> list[float]:
        """Seconds of all counted steps; ranks of ddp step together, so the first speaks for all."""
        return [step for run in self.steps.values() for rank in timed(run) for step in rank["steps"]]

    @property
    def images_per_second(self) -> Spread | None:
        """Over all counted steps: median and quartiles."""
        if not self.steps:
            return None
        step = over_steps(self.step_times)
        images = sum(rank["batch_size"] for rank in timed(next(iter(self.steps.values()))))
        return Spread(images / step.median, images / step.high, images / step.low)

    @property
    def whole_rate(self) -> Spread | None:
        """Images/s of the whole runs, by seed: of the median step."""
        return over_all(rate(run) for run in self.whole.values() if run["ranks"][0]["steps"])

    @property
    def data_share(self) -> float | None:
        """Of a step's time, what making the batch takes."""
        ranks = [rank for run in self.steps.values() for rank in run["ranks"] if rank.get("data")]
        return statistics.median(sum(rank["data"]) / sum(rank["steps"]) for rank in ranks) if ranks else None

    @property
    def communication_share(self) -> Spread | None:
        """Of a step's time, what exchanging gradients takes, over the rounds: 1 - step without it / step with it.

        Of each the slowest rank counts, as the others wait for it. Below zero, it is less than the machine's noise.
        """
        shares = []
        for run in self.steps.values():
            found = [rank["communication"] for rank in run["ranks"] if rank.get("communication")]
            if found:
                slowest = [max(statistics.median(rank[kind]) for rank in found) for kind in ("without", "with")]
                shares.append(1 - slowest[0] / slowest[1])
        return over_all(shares)

    def memory(self, kind: str) -> int | None:
        """The most that all processes of a run had at their peaks, in bytes: `host_memory` or `gpu_memory`."""
        runs = [*self.steps.values(), *self.whole.values()]
        sums = [sum(rank.get(kind) or 0 for rank in run["ranks"]) for run in runs]
        return max(sums, default=0) or None

    @property
    def accuracies(self) -> list[tuple[int, int]]:
        """Test images right, and all of them, of each seed."""
        ranks = [run["ranks"][0] for run in self.whole.values()]
        return [(rank["right"], rank["total"]) for rank in ranks if rank["right"] is not None]

    @property
    def accuracy(self) -> Spread | None:
        """Over all seeds, with its 95% interval."""
        if not self.accuracies:
            return None
        right, total = (sum(counts) for counts in zip(*self.accuracies, strict=True))
        return Spread(right / total, *wilson(right, total))

    @property
    def wall(self) -> Spread | None:
        """Seconds from start to end of the whole runs."""
        return over_all(run["seconds"] for run in self.whole.values())

    def parts(self) -> dict[str, float]:
        """Seconds that each part of a whole run took: medians over the seeds."""
        found = [parts_of(run) for run in self.whole.values()]
        return {name: statistics.median(each[name] for each in found) for name in PARTS} if found else {}

    def curve(self, seed: int) -> list[tuple[float, float]]:
        """Validation accuracy over seconds since the start of the process."""
        run = self.whole[seed]
        return [(point["time"] - run["began"], point["accuracy"]) for point in run["ranks"][0]["validations"]]

    def best(self, seed: int) -> float:
        """The best validation of a run."""
        return max((accuracy for _, accuracy in self.curve(seed)), default=0.0)

    def time_to(self, target: float) -> list[float | None]:
        """Seconds from the start of the process to the first validation at or above `target`, of each seed."""
        return [next((when for when, accuracy in self.curve(seed) if accuracy >= target), None) for seed in self.whole]


def rate(run: Run) -> float:
    """Images/s of a run, by the median step: of ranks that step together, or the sum of independent processes."""
    return sum(rank["batch_size"] / statistics.median(rank["steps"]) for rank in timed(run))


def timed(run: Run) -> list[dict[str, Any]]:
    """The ranks whose steps are apart from those of others."""
    return run["ranks"] if by_name(run["mode"]).kind == "serial" else run["ranks"][:1]


def parts_of(run: Run) -> dict[str, float]:
    """Where the seconds of a whole run went, as its first rank saw it."""
    rank, began = run["ranks"][0], run["began"]
    aside = rank["validation_s"] + rank["checkpoint_s"]
    found = {
        "import": rank["imported"] - began,
        "set-up": rank["training_began"] - rank["imported"],
        "first step": rank["first_step_ended"] - rank["training_began"],
        "training": rank["training_ended"] - rank["first_step_ended"] - aside,
        "validation": rank["validation_s"],
        "checkpoints": rank["checkpoint_s"],
        "test": rank["test_s"],
    }
    return found | {"rest": run["seconds"] - sum(found.values())}


def rows(content: dict[str, Any]) -> list[Row]:
    """All modes of a results.json, machine by machine, in the order in which they were first run."""
    found: dict[tuple[str, str], Row] = {}
    for run in content["runs"]:
        key = run["machine"], run["mode"]
        row = found.setdefault(key, Row(by_name(run["mode"]), run["machine"]))
        if run["failed"]:
            found[key] = Row(row.mode, row.machine, row.steps, row.whole, row.sweep, run["failed"])
        else:
            {"steps": row.steps, "whole": row.whole, "sweep": row.sweep}[run["part"]][run["number"]] = run
    for gone in content["unavailable"]:
        key = gone["machine"], gone["mode"]
        found.setdefault(key, Row(by_name(gone["mode"]), gone["machine"], reason=gone["reason"]))
    places = list(content["machines"])
    return sorted(found.values(), key=lambda row: places.index(row.machine))


def ratio(above: Row, below: Row) -> Spread | None:
    """Of their images/s, round by round on one machine, so that a slow round slows both."""
    if above.machine != below.machine:
        return None
    shared = above.rates.keys() & below.rates.keys()
    return over_all(above.rates[number] / below.rates[number] for number in shared)


@dataclass(frozen=True)
class Scaling:
    """How a row compares with others of its machine.

    Attributes:
        speedup: over the baseline.
        efficiency: over one process with as many threads, divided by the ranks: the speed-up of a step of the same
            global batch, or for weak scaling of one that has grown with the ranks.
        ceiling: over as many serial processes at once.
    """

    speedup: Spread | None = None
    efficiency: Spread | None = None
    ceiling: Spread | None = None


def baseline_of(row: Row, others: Sequence[Row]) -> Row | None:
    """The first mode of the same machine; ratios never cross machines."""
    return next((other for other in others if other.machine == row.machine and other.steps), None)


def scaling(row: Row, others: Sequence[Row]) -> Scaling:
    """Of a row, among the rows of a comparison."""
    baseline = baseline_of(row, others)
    if not row.steps or baseline is None:
        return Scaling()
    single, bound = alone(row, others), ceiling(row, others)
    return Scaling(
        ratio(row, baseline),
        divided(ratio(row, single), row.mode.count) if single else None,
        ratio(row, bound) if bound else None,
    )


def alone(row: Row, others: Sequence[Row]) -> Row | None:
    """The one process that is like a process of `row`: on the same device, with as many threads."""
    if row.mode.kind not in ("ddp", "serial"):
        return None
    single = (other for other in others if other.mode.kind in ("cpu", "gpu") and other.steps)
    return next((other for other in single if other.machine == row.machine and same_process(other, row)), None)


def same_process(one: Row, other: Row) -> bool:
    """Whether their processes compute with the same device and as many threads."""
    mine, its = (row.any_run["ranks"][0] for row in (one, other) if row.any_run)
    return (mine["device"], mine["threads"]) == (its["device"], its["threads"])


def ceiling(row: Row, others: Sequence[Row]) -> Row | None:
    """As many independent processes at once as `row` has ranks that share a batch."""
    if row.mode.kind != "ddp" or row.mode.weak:
        return None
    bound = Mode("serial", row.mode.count)
    return next(
        (other for other in others if (other.machine, other.mode) == (row.machine, bound) and other.steps), None
    )


def divided(spread: Spread | None, by: int) -> Spread | None:
    """Each part of it."""
    return Spread(spread.median / by, spread.low / by, spread.high / by) if spread else None


def common_target(found: Sequence[Row]) -> float | None:
    """The best accuracy that every whole run reached: the target where none was named."""
    best = [row.best(seed) for row in found for seed in row.whole]
    return min(best) if best and min(best) > 0 else None
