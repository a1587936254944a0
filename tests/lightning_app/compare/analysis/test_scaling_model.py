"""Steps over links whose times can be worked out by hand."""

from __future__ import annotations

import pytest
from invented_comparison import BUCKETS, all_reduce_timing, content, exchanging, rounds

from lightning_app.compare.analysis.mode_runs import modes_of
from lightning_app.compare.analysis.predicted_modes import predictions
from lightning_app.compare.analysis.scaling_model import Link, Step

LATENCY, BANDWIDTH = 1e-4, 1e9


def link(latency: float, bandwidth: float, ranks: int = 2) -> Link:
    """As all-reduces between some ranks would find it."""
    return Link.measured(all_reduce_timing("ddp:2", latency, bandwidth, ranks)["ranks"][0]["points"], ranks)


FAST, SLOW = link(0.0, 1e15), link(0.0, 1e7)
STEP = Step(1.0, BUCKETS)  # the last bucket is ready at 0.9


@pytest.mark.parametrize("size", [5_000, 2_000_000, 500_000_000])
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_a_ring_of_two_tells_of_more_ranks(ranks: int, size: int) -> None:
    expected = 2 * (ranks - 1) * (LATENCY + size / ranks / BANDWIDTH)
    assert link(LATENCY, BANDWIDTH).taking(size, ranks) == pytest.approx(expected, rel=1e-2)


def test_a_link_is_told_by_its_latency_and_bandwidth() -> None:
    found = link(LATENCY, BANDWIDTH, ranks=3)
    assert (found.latency, found.bandwidth) == pytest.approx((LATENCY, BANDWIDTH), rel=1e-2)


def test_a_step_is_as_long_as_its_slowest_rank_each_time() -> None:
    ranks = [
        {"communication": {"without": [1.0, 2.0, 1.0]}, "buckets": [[(5, 0.4), (7, 0.9)], [(5, 0.6), (7, 0.9)]]},
        {"communication": {"without": [2.0, 1.0, 4.0]}, "buckets": [[(5, 0.5), (7, 0.7)], [(5, 0.5), (7, 0.8)]]},
    ]
    step = Step.measured(ranks)
    assert step.seconds == 2.0
    assert [size for size, _ in step.buckets] == [5, 7]
    assert [ready for _, ready in step.buckets] == pytest.approx([0.55, 0.9])


def test_a_link_that_costs_nothing_leaves_the_step_as_it_is() -> None:
    assert STEP.over(FAST, 2) == pytest.approx(1.0)


def test_only_what_has_not_arrived_when_the_backward_pass_ends_is_waited_for() -> None:
    # 0.2 s, 0.4 s and 0.3 s of travel: ready at 0.3, 0.5 and 0.9, they arrive at 0.5, 0.9 and 1.2.
    assert STEP.over(SLOW, 2) == pytest.approx(1.2 + 0.1)


def test_buckets_that_are_late_delay_those_behind_them() -> None:
    # Three ranks move 4/3 of the bytes: 0.267, 0.533 and 0.4 s; arrivals at 0.567, 1.1 and 1.5.
    assert STEP.over(SLOW, 3) == pytest.approx(0.3 + 4 / 3 * 0.9 + 0.1)


def test_more_ranks_compute_less_each_and_are_predicted_as_far_as_there_are_images() -> None:
    step = 1.1
    found = content(
        [*rounds("ddp:2", exchanging(step), exchanging(step)), all_reduce_timing("ddp:2", 0.0, 1e15, 2)], batch_size=8
    )
    (out,) = predictions(modes_of(found))
    assert [each.ranks for each in out.steps] == [2, 4, 8, 16]
    seconds = [each.seconds for each in out.steps]
    assert seconds == pytest.approx([0.9 * step / factor for factor in (1, 2, 4, 8)], rel=1e-6)
    assert [each.measured is not None for each in out.steps] == [True, False, False, False]
