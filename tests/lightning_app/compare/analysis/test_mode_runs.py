"""What follows from the runs of one mode, with expected values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from invented_comparison import content, everything, exchanging, rounds, run, uneven

from lightning_app.compare.analysis.mode_runs import ModeRuns, modes_of


def by_mode(found: dict[str, Any]) -> dict[str, ModeRuns]:
    return {runs.mode.name: runs for runs in modes_of(found)}


def test_the_modes_come_in_their_order_also_what_cannot_be_run() -> None:
    assert list(by_mode(everything())) == ["original", "cpu:1", "cpu:2", "ddp:2", "serial:2", "gpu"]
    assert by_mode(everything())["gpu"].reason == "found no GPU"


def test_images_per_second_are_those_of_the_median_step_and_its_quartiles_over_all_rounds() -> None:
    rate = by_mode(uneven())["cpu:1"].images_per_second  # steps 1, 2, 2, 4, 4, 8: quartiles 2, 3 and 4
    assert rate is not None
    assert (rate.median, rate.low, rate.high) == pytest.approx((64 / 3, 64 / 4, 64 / 2))


def test_ranks_of_one_run_share_its_batch_which_counts_once() -> None:
    ddp = by_mode(uneven())["ddp:2"]
    assert ddp.rates == pytest.approx({0: 64.0, 1: 40.0})
    assert ddp.images_per_second is not None
    assert ddp.images_per_second.median == pytest.approx(64 / 1.3)  # steps 0.5, 0.8, 1, 1.6, 2, 3.2


def test_independent_processes_add_up_each_at_its_own_speed() -> None:
    serial = by_mode(uneven())["serial:2"]
    assert serial.rates == pytest.approx({0: 48.0, 1: 24.0})
    assert serial.images_per_second is not None
    assert serial.images_per_second.median == pytest.approx(64 / 3 + 64 / 6)  # medians of 2, 4 and of 4, 8


def test_accuracy_is_the_mean_of_all_seeds() -> None:
    found = by_mode(uneven())["cpu:1"]
    assert found.accuracies == [(9600, 10_000), (9640, 10_000), (9710, 10_000)]
    assert found.accuracy is not None
    assert found.accuracy.median == pytest.approx(0.965)


def test_wall_time_is_the_median_over_seeds_and_their_range() -> None:
    wall = by_mode(uneven())["cpu:1"].wall_time
    assert wall is not None
    assert (wall.median, wall.low, wall.high) == (130.0, 100.0, 400.0)


def test_memory_is_summed_over_processes_in_the_run_that_had_most() -> None:
    assert by_mode(uneven())["ddp:2"].peak_memory("host_memory") == 2 * 10**9
    assert by_mode(uneven())["ddp:2"].peak_memory("gpu_memory") is None
    assert by_mode(everything())["gpu"].peak_memory("host_memory") is None  # which did not run


def test_shares_of_a_step() -> None:
    ddp = by_mode(everything())["ddp:2"]
    assert ddp.communication_share is not None
    assert ddp.communication_share.median == pytest.approx(0.1)
    assert ddp.data_share == pytest.approx(0.02, rel=0.01)
    assert by_mode(everything())["cpu:1"].communication_share is None


def test_the_slowest_rank_decides_what_communication_takes() -> None:
    uneven_ranks = exchanging(1.0), exchanging(1.0) | {"communication": {"with": [1.0], "without": [0.95]}}
    share = by_mode(content(rounds("ddp:2", *uneven_ranks)))["ddp:2"].communication_share
    assert share is not None
    assert share.median == pytest.approx(0.05)


def test_a_run_that_failed_is_a_mode_with_its_reason() -> None:
    failed = run("steps", "ddp:2", 0, [], failed="exit code 1: out of memory")
    assert by_mode(content([failed]))["ddp:2"].reason == "exit code 1: out of memory"
