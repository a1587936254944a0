"""Confidence intervals of accuracies, and whether two modes' accuracies differ."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot

from lightning_app.compare.analysis.spread import Spread

LEVEL = 0.95
LEAST_SEEDS = 3
Counts = Sequence[tuple[int, int]]  # (correct, total) test images of each seed


def mean_accuracy(counts: Counts) -> Spread:
    """The mean over the seeds with Wilson's interval (JASA 22, 1927, 209-212) for the test images, counted once.

    All seeds are tested on the same images, so three seeds do not make three times as many images.
    """
    from scipy.stats import binomtest

    correct, total = once(counts)
    interval = binomtest(correct, total).proportion_ci(LEVEL, method="wilson")
    return Spread(sum(c / t for c, t in counts) / len(counts), interval.low, interval.high)


def once(counts: Counts) -> tuple[int, int]:
    """Mean correct images over all seeds, to the nearest image, and the images of one test."""
    return round(sum(correct for correct, _ in counts) / len(counts)), counts[0][1]


def two_proportions(first: tuple[int, int], second: tuple[int, int]) -> float:
    """p that two (correct, total) have the same accuracy: chi-squared without correction, i.e. the pooled z-test."""
    from scipy.stats import chi2_contingency

    table = [(correct, total - correct) for correct, total in (first, second)]
    if 0 in [sum(column) for column in zip(*table, strict=True)]:  # all correct, or none: scipy rejects the table
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """p that two sets of seeds have the same mean accuracy: Welch's t-test (Biometrika 34, 1947, 28-35).

    The test for proportions only knows the chance in the test images. If runs of one mode differ by more than that,
    only a test over runs can distinguish modes.
    """
    from scipy.stats import ttest_ind

    if len(set(first)) == len(set(second)) == 1:
        return 1.0 if first[0] == second[0] else 0.0
    with warnings.catch_warnings():  # seeds that all agree should not raise a precision warning
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ttest_ind(first, second, equal_var=False).pvalue)


@dataclass(frozen=True)
class Verdict:
    """Whether two modes' test accuracies differ.

    A difference is claimed if both tests find one, with at least LEAST_SEEDS seeds of each mode.

    Args:
        first, second: (correct, total) of every seed.
        comparisons: tests made in this report; p is multiplied by it (Bonferroni), so that many modes do not produce a
            difference by chance.
    """

    first: Counts
    second: Counts
    comparisons: int = 1

    @property
    def seeds(self) -> int:
        """Of the mode with fewer."""
        return min(len(self.first), len(self.second))

    @cached_property
    def p_images(self) -> float:
        return min(1.0, self.comparisons * two_proportions(once(self.first), once(self.second)))

    @cached_property
    def p_seeds(self) -> float:
        shares = [[correct / total for correct, total in counts] for counts in (self.first, self.second)]
        return min(1.0, self.comparisons * welch(*shares))

    @property
    def differs(self) -> bool:
        return self.seeds >= LEAST_SEEDS and max(self.p_images, self.p_seeds) < 1 - LEVEL

    @property
    def difference(self) -> Spread:
        """Second - first, with Newcombe's interval (Statistics in Medicine 17, 1998, 873-890, method 10)."""
        one, two = mean_accuracy(self.first), mean_accuracy(self.second)
        gap = two.median - one.median
        below = hypot(two.median - two.low, one.high - one.median)
        above = hypot(two.high - two.median, one.median - one.low)
        return Spread(gap, gap - below, gap + above)

    @property
    def text(self) -> str:
        if self.p_images >= 1 - LEVEL:
            return f"no difference found (p = {self.p_images:.2f})"
        if self.seeds < LEAST_SEEDS:
            plural = "s" if self.seeds > 1 else ""
            return f"no claim: {self.seeds} seed{plural}, {LEAST_SEEDS} are needed (p = {self.p_images:.2g})"
        if self.p_seeds >= 1 - LEVEL:
            return f"no difference found beyond that between seeds (p = {self.p_seeds:.2f})"
        return f"differs (p = {max(self.p_images, self.p_seeds):.2g})"
