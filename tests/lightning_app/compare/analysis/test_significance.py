"""What is called a difference, and what is not."""

from __future__ import annotations

import pytest

from lightning_app.compare.analysis.significance import Verdict, mean_accuracy, two_proportions, welch

STUDY = [(9617, 10_000)], [(9603, 10_000)]  # the original study's CPU and GPU


def test_the_interval_is_wilson_s() -> None:
    found = mean_accuracy([(8, 10)])
    # z = 1.95996, z*z = 3.84146: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half 0.22659.
    assert (found.median, found.low, found.high) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)


def test_seeds_are_tested_on_the_same_images_which_count_once() -> None:
    three, one = mean_accuracy([(7, 10), (8, 10), (9, 10)]), mean_accuracy([(8, 10)])
    assert (three.low, three.high) == (one.low, one.high)


def test_the_original_study_s_accuracies_are_no_difference() -> None:
    # Pooled 0.961: z = 0.0014 / sqrt(0.961 * 0.039 * 2 / 10,000) = 0.5114.
    assert two_proportions(STUDY[0][0], STUDY[1][0]) == pytest.approx(0.6091, abs=1e-4)
    assert Verdict(*STUDY).text == "no difference found (p = 0.61)"


@pytest.mark.parametrize("correct", [0, 10, 20])
def test_equal_shares_are_equal_also_at_the_ends(correct: int) -> None:
    assert two_proportions((correct, 20), (correct, 20)) == 1.0


def counts(*correct: int, total: int = 10_000) -> list[tuple[int, int]]:
    return [(each, total) for each in correct]


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 2), (3, 1), (1, 3), (2, 3)])
def test_where_either_mode_has_fewer_than_three_seeds_nothing_is_claimed(first: int, second: int) -> None:
    found = Verdict(counts(*[9600] * first), counts(*[9000] * second))
    assert found.text.startswith(f"no claim: {min(first, second)} seed")
    assert not found.differs


def test_three_seeds_that_agree_can_differ_from_three_others() -> None:
    found = Verdict(counts(9600, 9601, 9602), counts(9300, 9301, 9302))
    assert found.differs
    assert found.text.startswith("differs (p = ")


def test_seeds_of_unlike_variance_are_compared_by_welch_s_test() -> None:
    # Means 0.94 and 0.89, variances 0.0016 and 0: t = 0.05 / sqrt(0.0016 / 3) = 2.165 with 2 degrees of
    # freedom, so p = 1 - t / sqrt(t * t + 2) = 0.163. With one pooled variance, t = 3.31 with 7 degrees and p = 0.013.
    found = Verdict(counts(9000, 9400, 9800), counts(*[8900] * 6))
    assert found.p_seeds == pytest.approx(0.163, abs=1e-3)
    assert not found.differs
    assert found.text == "no difference found beyond that between seeds (p = 0.16)"


def test_seeds_that_all_agree_have_no_variance_to_test_with() -> None:
    assert welch([0.9, 0.9, 0.9], [0.9, 0.9]) == 1.0
    assert welch([0.9, 0.9, 0.9], [0.8, 0.8]) == 0.0


def test_p_grows_with_the_number_of_comparisons() -> None:
    one, two = (Verdict(*STUDY, comparisons=number) for number in (1, 2))
    assert two.p_images == 1.0 > one.p_images
    alone, among = (Verdict(counts(9600, 9601, 9602), counts(9540, 9541, 9542), number) for number in (1, 3))
    assert among.p_images == pytest.approx(3 * alone.p_images)
    assert (alone.differs, among.differs) == (True, False)


def test_the_difference_has_newcombe_s_interval() -> None:
    # Wilson of 56/70: 0.6926 to 0.8773... as Newcombe's table II has it for 56/70 - 48/80: 0.0524 to 0.3339.
    found = Verdict([(48, 80)], [(56, 70)]).difference
    assert (found.median, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
