"""What is called a difference, and what is not."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, chi2_contingency

from lightning_app.compare.analysis.significance import two_proportions, verdict, wilson

STUDY = (9617, 10_000), (9603, 10_000)  # the original study's CPU and GPU


@pytest.mark.parametrize(("right", "total"), [(9617, 10_000), (0, 10), (10, 10), (357, 360)])
def test_the_interval_is_wilson_s(right: int, total: int) -> None:
    theirs = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_test_for_two_proportions_is_the_chi_squared_of_their_table() -> None:
    (right, total), (right_too, total_too) = STUDY
    table = [[right, total - right], [right_too, total_too - right_too]]
    theirs = chi2_contingency(table, correction=False).pvalue
    assert two_proportions((right, right_too), (total, total_too)) == pytest.approx(theirs, rel=1e-12)


def test_equal_shares_at_the_end_of_the_scale_are_equal() -> None:
    assert two_proportions((10, 20), (10, 20)) == 1.0


def test_the_original_study_s_accuracies_are_no_difference() -> None:
    assert verdict(STUDY[:1], STUDY[1:]) == "no difference (p = 0.61)"


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_fewer_than_three_seeds_nothing_is_claimed(seeds: int) -> None:
    said = verdict([(9600, 10_000)] * seeds, [(9000, 10_000)] * seeds)
    assert said.startswith(f"no claim: {seeds} seed")


def test_three_seeds_that_agree_can_differ_from_three_others() -> None:
    said = verdict([(9600 + seed, 10_000) for seed in range(3)], [(9300 + seed, 10_000) for seed in range(3)])
    assert said.startswith("differs (p = ")


def test_what_seeds_differ_by_among_themselves_is_no_difference_between_modes() -> None:
    said = verdict([(right, 1000) for right in (800, 950, 990)], [(right, 1000) for right in (700, 900, 960)])
    assert said.startswith("no difference beyond that between seeds")
