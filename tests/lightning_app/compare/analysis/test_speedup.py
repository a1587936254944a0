"""Ratios between modes whose runs are made up, with expected values worked out by hand."""

from __future__ import annotations

import pytest
from invented_comparison import BATCH, by_round, content, everything, exchanging, rank, rounds, uneven

from lightning_app.compare.analysis.mode_runs import ModeRuns, modes_of
from lightning_app.compare.analysis.speedup import ratio, scaling
from lightning_app.compare.analysis.spread import Spread


def close(spread: Spread | None) -> object:
    assert spread is not None
    return pytest.approx((spread.median, spread.low, spread.high))


def scaling_of(mode: str, modes: list[ModeRuns]) -> tuple[object, object, object]:
    (runs,) = [each for each in modes if each.mode.name == mode]
    scale = scaling(runs, modes)
    return close(scale.speedup), close(scale.efficiency), close(scale.of_ceiling)


def test_ratios_are_taken_within_each_round_of_unlike_rounds_and_ranks() -> None:
    speedup, efficiency, of_ceiling = scaling_of("ddp:2", modes_of(uneven()))
    assert speedup == (2.25, 2.0, 2.5)  # 64/32 and 40/16
    assert efficiency == (1.125, 1.0, 1.25)  # half of it
    assert of_ceiling == (1.5, 4 / 3, 5 / 3)  # 64/48 and 40/24


def test_a_slow_round_slows_all_and_changes_no_ratio() -> None:
    found = scaling_of("ddp:2", modes_of(everything()))
    assert found == ((6.0 / 1.1,) * 3, (2.0 / 1.1 / 2,) * 3, (1.08 / 1.1,) * 3)


def test_a_round_that_only_one_of_two_has_is_in_no_ratio() -> None:
    three, two = by_round("cpu:1", [[2.0]], [[4.0]], [[8.0]]), by_round("cpu:2", [[1.0]], [[1.0]])
    cpu1, cpu2 = modes_of(content([*three, *two], unavailable=[]))
    assert close(ratio(cpu2, cpu1)) == (3.0, 2.0, 4.0)


def test_ratios_never_cross_machines() -> None:
    here, there = by_round("cpu:1", [[2.0]]), [run | {"machine": "there"} for run in by_round("cpu:1", [[1.0]])]
    machines = {"here": {}, "there": {}}
    cpu, other = modes_of(content([*here, *there], machines=machines, unavailable=[]))
    assert ratio(cpu, other) is None
    assert scaling_of_baseline(other, [cpu, other]) == (1.0, 1.0, 1.0)


def scaling_of_baseline(runs: ModeRuns, modes: list[ModeRuns]) -> object:
    return close(scaling(runs, modes).speedup)


def test_efficiency_is_over_a_process_with_the_threads_of_a_rank() -> None:
    without = content([*rounds("cpu:2", rank(1.2, threads=2)), *rounds("ddp:2", exchanging(1.1), exchanging(1.1))])
    _, ddp, _ = modes_of(without)
    assert scaling(ddp, modes_of(without)).efficiency is None


def test_weak_scaling_counts_the_grown_batch() -> None:
    weak = rank(2.2, batch_size=2 * BATCH)
    modes = modes_of(content([*rounds("cpu:1", rank(2.0)), *rounds("ddp:2-weak", weak, weak)]))
    assert close(scaling(modes[1], modes).efficiency) == (2.0 / 2.2,) * 3
