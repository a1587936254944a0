"""Predicts ranks that were not measured, from a row that was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_app.compare.analysis.mode_runs import ModeRuns, rate
from lightning_app.compare.analysis.scaling_model import BEYOND, Link, Step


@dataclass(frozen=True)
class PredictedStep:
    """A number of ranks, over the link of a measured row.

    Attributes:
        ranks: how many.
        seconds: of a step.
        waiting: of these seconds, how many wait for gradients.
        images_per_second: over all ranks.
        measured: seconds, if these ranks were measured too.
    """

    ranks: int
    seconds: float
    waiting: float
    images_per_second: float
    measured: float | None = None


@dataclass(frozen=True)
class Prediction:
    """What follows from the link and the step of one mode; `steps` starts with its own ranks, as a check."""

    runs: ModeRuns
    link: Link
    steps: Sequence[PredictedStep]


def predictions(modes: Sequence[ModeRuns]) -> list[Prediction]:
    """One per machine: from the largest number of ranks whose link and steps are known."""
    known = [runs for runs in modes if runs.all_reduce and runs.steps and has_buckets(runs)]
    most = {runs.machine: runs for runs in sorted(known, key=lambda runs: runs.mode.count)}
    return [predict(runs) for runs in most.values()]


def has_buckets(runs: ModeRuns) -> bool:
    """Whether its steps without communication were measured."""
    return all(rank.get("buckets") for run in runs.steps.values() for rank in run["ranks"])


def predict(runs: ModeRuns) -> Prediction:
    """Assumes that every rank has its own cores, and takes a smaller part of the batch."""
    measured = runs.mode.count
    link = Link.measured(next(iter(runs.all_reduce.values()))["ranks"][0]["points"], measured)
    run = sorted(runs.steps.values(), key=rate)[len(runs.steps) // 2]  # the round with the median speed
    step, batch = Step.measured(run["ranks"]), run["ranks"][0]["batch_size"]
    found = []
    for ranks in (measured, *(measured * times for times in BEYOND)):
        if ranks > batch:  # some would have no image
            break
        part = step.taking(step.seconds * measured / ranks)
        seconds = part.over(link, ranks)
        own = batch / rate(run) if ranks == measured else None
        found.append(PredictedStep(ranks, seconds, seconds - part.seconds, batch / seconds, own))
    return Prediction(runs, link, found)
