"""Ranks that were not measured, from a row that was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_app.compare.analysis.mode_runs import ModeRuns, rate
from lightning_app.compare.analysis.scaling_model import BEYOND, Link, Step


@dataclass(frozen=True)
class Predicted:
    """A number of ranks, over the link of a measured row.

    Attributes:
        ranks: how many.
        seconds: of a step.
        waiting: of these, what is waited for gradients.
        images_per_second: of all.
        measured: seconds, where these ranks were measured too.
    """

    ranks: int
    seconds: float
    waiting: float
    images_per_second: float
    measured: float | None = None


@dataclass(frozen=True)
class Outlook:
    """What follows from one row's link and step."""

    row: ModeRuns
    link: Link
    predicted: Sequence[Predicted]


def outlooks(found: Sequence[ModeRuns]) -> list[Outlook]:
    """One for each machine: from the most ranks whose link and steps are known."""
    able = [row for row in found if row.all_reduce and row.steps and has_buckets(row)]
    most = {row.machine: row for row in sorted(able, key=lambda row: row.mode.count)}
    return [outlook(row) for row in most.values()]


def has_buckets(row: ModeRuns) -> bool:
    """Whether its steps without communication were measured."""
    return all(rank.get("buckets") for run in row.steps.values() for rank in run["ranks"])


def outlook(row: ModeRuns) -> Outlook:
    """Of a row: its own ranks for a check, and more of them."""
    count = row.mode.count
    link = Link.measured(next(iter(row.all_reduce.values()))["ranks"][0]["points"], count)
    run = sorted(row.steps.values(), key=rate)[len(row.steps) // 2]  # the round of the median speed
    step, batch = Step.measured(run["ranks"]), run["ranks"][0]["batch_size"]
    found = []
    for ranks in (count, *(count * times for times in BEYOND)):
        if ranks > batch:  # some would have no image
            break
        # Every rank has cores of its own, and a smaller part of the batch.
        part = step.taking(step.seconds * count / ranks)
        seconds = part.over(link, ranks)
        measured = batch / rate(run) if ranks == count else None
        found.append(Predicted(ranks, seconds, seconds - part.seconds, batch / seconds, measured))
    return Outlook(row, link, found)
