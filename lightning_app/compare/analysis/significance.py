"""Intervals and tests for shares of images that are right."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

LEVEL = 0.95
LEAST_SEEDS = 3


def wilson(right: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share (Wilson, JASA 22, 1927, 209-212).

    Unlike share +- z * standard error, it stays within [0, 1] and is right near the ends.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = right / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def two_proportions(right: tuple[int, int], total: tuple[int, int]) -> float:
    """p of two shares being equal: the pooled z-test, two-sided (Fleiss, Levin, Paik, Statistical Methods for Rates
    and Proportions, 3rd ed., 2003, section 3.2), without correction for continuity."""
    pooled = sum(right) / sum(total)
    deviation = sqrt(pooled * (1 - pooled) * (1 / total[0] + 1 / total[1]))
    if deviation == 0:
        return 1.0
    z = (right[0] / total[0] - right[1] / total[1]) / deviation
    return 2 * NormalDist().cdf(-abs(z))


def seeds_differ(first: Sequence[float], second: Sequence[float]) -> float:
    """p of two sets of seeds having one mean accuracy: Welch's t-test (Biometrika 34, 1947, 28-35).

    The test for proportions knows of the chance in the test images alone. Where runs of one mode differ by more than
    that, only a test over runs can tell modes apart.
    """
    from scipy.stats import ttest_ind

    if len(set(first)) == len(set(second)) == 1:
        return 1.0 if first[0] == second[0] else 0.0
    return float(ttest_ind(first, second, equal_var=False).pvalue)


def verdict(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> str:
    """What may be said of two modes' accuracies, each given as (right, total) of every seed.

    A difference is claimed where both tests see one, from LEAST_SEEDS seeds on.
    """
    pooled = [(sum(right for right, _ in runs), sum(total for _, total in runs)) for runs in (first, second)]
    p = two_proportions((pooled[0][0], pooled[1][0]), (pooled[0][1], pooled[1][1]))
    if p >= 1 - LEVEL:
        return f"no difference (p = {p:.2f})"
    seeds = min(len(first), len(second))
    if seeds < LEAST_SEEDS:
        return f"no claim: {seeds} seed{'s' if seeds > 1 else ''}, {LEAST_SEEDS} are needed (p = {p:.2g})"
    of_seeds = seeds_differ(*([right / total for right, total in runs] for runs in (first, second)))
    if of_seeds >= 1 - LEVEL:
        return f"no difference beyond that between seeds (p = {of_seeds:.2f})"
    return f"differs (p = {max(p, of_seeds):.2g})"
