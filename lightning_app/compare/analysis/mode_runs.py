"""The recorded runs of each mode, and the rates, shares and sizes that follow from them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lightning_app.compare.analysis.significance import mean_accuracy
from lightning_app.compare.analysis.spread import Spread, median_and_quartiles, median_and_range
from lightning_app.compare.trials.modes import Mode, mode_from_name

Run = dict[str, Any]


@dataclass(frozen=True)
class ModeRuns:
    """The runs of one mode on one machine.

    Attributes:
        steps: runs of counted steps, by round.
        whole: whole runs, by seed.
        all_reduce: timings of the link between the ranks, by number (there is one: 0).
        reason: why the mode was not run, or why its last run failed; empty otherwise.
    """

    mode: Mode
    machine: str
    steps: dict[int, Run] = field(default_factory=dict)
    whole: dict[int, Run] = field(default_factory=dict)
    all_reduce: dict[int, Run] = field(default_factory=dict)
    reason: str = ""

    @property
    def any_run(self) -> Run | None:
        return next(iter([*self.steps.values(), *self.whole.values()]), None)

    @cached_property
    def rates(self) -> dict[int, float]:
        """Images/s of each round."""
        return {number: rate(run) for number, run in self.steps.items()}

    @property
    def images_per_second(self) -> Spread | None:
        """Over the counted steps of all rounds: from the median step time and its quartiles.

        Independent processes add up, each with its own median, so that a slow core counts fully.
        """
        if not self.steps:
            return None
        clocks = list(zip(*(timed_ranks(run) for run in self.steps.values()), strict=True))
        spreads = [median_and_quartiles([step for rank in clock for step in rank["steps"]]) for clock in clocks]
        images = [clock[0]["batch_size"] for clock in clocks]
        slow, median, fast = (
            sum(size / step for size, step in zip(images, steps, strict=True))
            for steps in ([s.high for s in spreads], [s.median for s in spreads], [s.low for s in spreads])
        )
        return Spread(median, slow, fast)

    @property
    def step_times(self) -> list[float]:
        """Seconds of all counted steps."""
        return [step for run in self.steps.values() for rank in timed_ranks(run) for step in rank["steps"]]

    @property
    def whole_rate(self) -> Spread | None:
        """Images/s of the whole runs, from each seed's median step: median and range."""
        return median_and_range(rate(run) for run in self.whole.values() if run["ranks"][0]["steps"])

    @property
    def data_share(self) -> float | None:
        """The share of a step's time that making the batch takes."""
        ranks = [rank for run in self.steps.values() for rank in run["ranks"] if rank.get("data")]
        return statistics.median(sum(rank["data"]) / sum(rank["steps"]) for rank in ranks) if ranks else None

    @property
    def communication_share(self) -> Spread | None:
        """1 - step without gradient exchange / step with it: median and range over the rounds.

        The slowest rank counts, because the others wait for it. Below zero, the exchange costs less than the noise.
        """
        shares = []
        for run in self.steps.values():
            found = [rank["communication"] for rank in run["ranks"] if rank.get("communication")]
            if found:
                slowest = [max(statistics.median(rank[kind]) for rank in found) for kind in ("without", "with")]
                shares.append(1 - slowest[0] / slowest[1])
        return median_and_range(shares)

    @property
    def process_imbalance(self) -> float | None:
        """The slowest of several independent processes over the fastest, by median step: median over the rounds.

        Above 1 if cores differ in speed; ddp ranks wait for the slowest at every step.
        """
        if self.mode.kind != "serial" or not self.steps:
            return None
        medians = [[statistics.median(rank["steps"]) for rank in run["ranks"]] for run in self.steps.values()]
        return statistics.median(max(each) / min(each) for each in medians)

    @property
    def precision(self) -> str | None:
        """Lightning's name for it; the original loop only uses fp32."""
        if self.mode.kind == "original":
            return "32-true"
        return self.any_run["ranks"][0].get("precision") if self.any_run else None

    def peak_memory(self, kind: str) -> int | None:
        """Bytes, summed over a run's processes, of the run with the most; `kind` is host_memory or gpu_memory."""
        runs = [*self.steps.values(), *self.whole.values()]
        sums = [sum(rank.get(kind) or 0 for rank in run["ranks"]) for run in runs]
        return max(sums, default=0) or None

    @property
    def accuracies(self) -> list[tuple[int, int]]:
        """(correct, total) test images of each seed."""
        ranks = [run["ranks"][0] for run in self.whole.values()]
        return [(rank["correct"], rank["total"]) for rank in ranks if rank["correct"] is not None]

    @property
    def accuracy(self) -> Spread | None:
        """The mean test accuracy over the seeds, with its 95% interval."""
        return mean_accuracy(self.accuracies) if self.accuracies else None

    @property
    def wall_time(self) -> Spread | None:
        """Seconds from start to end of the whole runs: median and range."""
        return median_and_range(run["seconds"] for run in self.whole.values())


def rate(run: Run) -> float:
    """Images/s from the median step: of ranks that step together, or the sum of independent processes."""
    return sum(rank["batch_size"] / statistics.median(rank["steps"]) for rank in timed_ranks(run))


def timed_ranks(run: Run) -> list[dict[str, Any]]:
    """The processes whose clocks count: ddp ranks step together, so the first stands for all."""
    return run["ranks"] if mode_from_name(run["mode"]).kind == "serial" else run["ranks"][:1]


def modes_of(content: dict[str, Any]) -> list[ModeRuns]:
    """All modes of a results.json, machine by machine, in the order in which they first ran."""
    found: dict[tuple[str, str], ModeRuns] = {}
    for run in content["runs"]:
        key = run["machine"], run["mode"]
        runs = found.setdefault(key, ModeRuns(mode_from_name(run["mode"]), run["machine"]))
        if run["failed"]:
            found[key] = replace(runs, reason=run["failed"])
        else:
            {"steps": runs.steps, "whole": runs.whole, "all_reduce": runs.all_reduce}[run["part"]][run["number"]] = run
    for gone in content["unavailable"]:
        key = gone["machine"], gone["mode"]
        found.setdefault(key, ModeRuns(mode_from_name(gone["mode"]), gone["machine"], reason=gone["reason"]))
    places = list(content["machines"])
    return sorted(found.values(), key=lambda runs: places.index(runs.machine))
