"""What follows from runs whose numbers are known."""

from __future__ import annotations

from typing import Any

import pytest
from invented_comparison import BATCH, content, everything, exchanging, rank, rounds, run, whole

from lightning_app.compare.analysis.ratios import PARTS, Row, common_target, parts_of, rows, scaling


def by_mode(found: dict[str, Any]) -> dict[str, Row]:
    return {row.mode.name: row for row in rows(found)}


def test_every_mode_is_a_row_in_its_order_also_what_cannot_be_run() -> None:
    assert list(by_mode(everything())) == ["original", "cpu:1", "cpu:2", "ddp:2", "serial:2", "gpu"]
    assert by_mode(everything())["gpu"].reason == "found no GPU"


def test_a_slow_round_slows_all_and_changes_no_ratio() -> None:
    found = rows(everything())
    scale = scaling(by_mode(everything())["ddp:2"], found)
    assert scale.speedup is not None
    assert scale.efficiency is not None
    assert scale.ceiling is not None
    for spread, expected in (
        (scale.speedup, 6.0 / 1.1),
        (scale.efficiency, 2.0 / 1.1 / 2),
        (scale.ceiling, 1.08 / 1.1),
    ):
        assert (spread.median, spread.low, spread.high) == pytest.approx((expected,) * 3)


def test_efficiency_is_over_a_process_with_the_threads_of_a_rank() -> None:
    without = content([*rounds("cpu:2", rank(1.2, threads=2)), *rounds("ddp:2", exchanging(1.1), exchanging(1.1))])
    assert scaling(by_mode(without)["ddp:2"], rows(without)).efficiency is None


def test_independent_processes_add_up() -> None:
    found = content(rounds("serial:2", rank(1.0, batch_size=32), rank(2.0, batch_size=32)))
    assert by_mode(found)["serial:2"].rates[0] == pytest.approx(32 / 1.0 + 32 / 2.0)


def test_weak_scaling_counts_the_grown_batch() -> None:
    weak = rank(2.2, batch_size=2 * BATCH)
    found = content([*rounds("cpu:1", rank(2.0)), *rounds("ddp:2-weak", weak, weak)])
    efficiency = scaling(by_mode(found)["ddp:2-weak"], rows(found)).efficiency
    assert efficiency is not None
    assert efficiency.median == pytest.approx(2.0 / 2.2)


def test_shares_of_a_step() -> None:
    row = by_mode(everything())["ddp:2"]
    assert row.communication_share is not None
    assert row.communication_share.median == pytest.approx(0.1)
    assert row.data_share == pytest.approx(0.02, rel=0.01)
    assert by_mode(everything())["cpu:1"].communication_share is None


def test_the_slowest_rank_decides_what_communication_takes() -> None:
    uneven = exchanging(1.0), exchanging(1.0) | {"communication": {"with": [1.0], "without": [0.95]}}
    share = by_mode(content(rounds("ddp:2", *uneven)))["ddp:2"].communication_share
    assert share is not None
    assert share.median == pytest.approx(0.05)


def test_the_parts_of_a_run_are_all_of_it() -> None:
    parts = parts_of(whole("cpu:1", 0, 9600))
    assert tuple(parts) == PARTS
    assert sum(parts.values()) == pytest.approx(100)
    assert min(parts.values()) > 0


def test_time_to_accuracy_ends_with_the_first_validation_that_reaches_it() -> None:
    row = by_mode(content([whole("cpu:1", 0, 9600), whole("cpu:1", 1, 8900)]))["cpu:1"]
    assert row.time_to(0.9) == [pytest.approx(60), pytest.approx(60)]
    assert row.time_to(0.95) == [pytest.approx(80), None]


def test_without_a_target_it_is_what_every_run_reached() -> None:
    assert common_target(rows(content([whole("cpu:1", 0, 9600), whole("ddp:2", 0, 9400)]))) == 0.94


def test_a_run_that_failed_is_a_row_with_its_reason() -> None:
    failed = run("steps", "ddp:2", 0, [], failed="exit code 1: out of memory")
    assert by_mode(content([failed]))["ddp:2"].reason == "exit code 1: out of memory"
