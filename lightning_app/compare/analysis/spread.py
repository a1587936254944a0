"""A median and the interval around it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A central value and an interval around it.

    Attributes:
        median: or the estimate that the interval belongs to.
        low, high: range, quartiles or confidence interval, depending on the function that made it.
    """

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)


def median_and_range(values: Iterable[float]) -> Spread | None:
    """None if there are no values."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1]) if found else None


def median_and_quartiles(values: Sequence[float]) -> Spread:
    if len(values) == 1:  # statistics.quantiles refuses a single value before Python 3.13
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)
