"""Device-hours of made-up runs, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from invented_comparison import by_round, content, rank, run, uneven, whole

from lightning_app.compare.analysis.cost import Devices, Marginal, cost_of, devices_of, energy_of, marginals
from lightning_app.compare.analysis.mode_runs import ModeRuns, modes_of


def by_mode(found: dict[str, Any]) -> dict[str, ModeRuns]:
    return {runs.mode.name: runs for runs in modes_of(found)}


def on_gpus(mode: str, count: int, seconds: float) -> dict[str, Any]:
    """A whole run of ranks with four threads and a GPU each."""
    made = whole(mode, 0, 9600, seconds)
    return made | {"ranks": [made["ranks"][0] | {"threads": 4, "device": "H100"} for _ in range(count)]}


def test_devices_are_the_threads_of_all_processes_and_a_gpu_for_each_rank() -> None:
    assert devices_of(run("steps", "ddp:2", 0, [rank(1, threads=3), rank(1, threads=3)])) == Devices(6, 0)
    assert devices_of(on_gpus("ddp:2", 2, 100.0)) == Devices(8, 2)


def test_the_cost_of_a_whole_run_to_the_target_and_of_a_million_images() -> None:
    modes = by_mode(uneven())
    cpu, ddp = cost_of(modes["cpu:1"], 0.9), cost_of(modes["ddp:2"], 0.9)
    assert cpu is not None
    assert ddp is not None
    # Wall times 100, 130, 400 s, and 60 s with two cores; 0.9 is reached after 0.6 of each.
    assert (cpu.whole, cpu.to_target) == (130.0, pytest.approx(78.0))
    assert cpu.hours(cpu.whole, "core") == pytest.approx(130 / 3600)
    assert ddp.hours(ddp.whole, "core") == pytest.approx(2 * 60 / 3600)
    assert ddp.hours(ddp.to_target, "core") == pytest.approx(2 * 36 / 3600)
    assert ddp.hours(ddp.whole, "GPU") is None
    assert cpu.per_million == pytest.approx(1e6 / (64 / 3))


def test_a_target_that_one_seed_missed_has_no_cost() -> None:
    cost = cost_of(by_mode(uneven())["cpu:1"], 0.965)  # seeds end at 0.960, 0.964 and 0.971
    assert cost is not None
    assert cost.to_target is None


def test_a_gpu_run_costs_gpu_hours_and_the_cores_that_it_holds() -> None:
    cost = cost_of(by_mode(content([on_gpus("ddp:2", 2, 1800.0)]))["ddp:2"], None)
    assert cost is not None
    assert (cost.hours(cost.whole, "GPU"), cost.hours(cost.whole, "core")) == (1.0, 4.0)


def marginal_numbers(each: Marginal) -> tuple[str, str, tuple[int, int], str, str]:
    return each.smaller.mode.name, each.larger.mode.name, each.devices, each.kind, each.by


def test_the_next_doubling_saves_time_and_costs_device_hours() -> None:
    (each,) = marginals(modes_of(uneven()))
    assert marginal_numbers(each) == ("cpu:1", "ddp:2", (1, 2), "core", "whole runs")
    assert each.time == pytest.approx(60 / 130)
    assert each.hours == pytest.approx(120 / 130)


def test_each_number_of_devices_is_spoken_for_by_its_fastest_mode_and_kinds_are_not_mixed() -> None:
    runs = [
        *by_round("cpu:1", [[8.0]]),
        *(each | {"ranks": [each["ranks"][0] | {"threads": 2}]} for each in by_round("cpu:2", [[5.0]])),
        *by_round("ddp:2", [[6.0], [6.0]]),
        *by_round("ddp:4", [[4.0]] * 4),
        *by_round("serial:2", [[1.0], [1.0]]),
        on_gpus("gpu", 1, 10.0),
    ]
    first, second = marginals(modes_of(content(runs, unavailable=[])))
    assert marginal_numbers(first) == ("cpu:1", "cpu:2", (1, 2), "core", "counted steps")
    assert marginal_numbers(second) == ("cpu:2", "ddp:4", (2, 4), "core", "counted steps")
    assert (second.time, second.hours) == (pytest.approx(4 / 5), pytest.approx(8 / 5))


def test_energy_is_summed_over_ranks_or_has_a_reason() -> None:
    counted, missing = {"joules": 500.0, "reason": ""}, {"joules": None, "reason": "no RAPL counter"}
    one = whole("ddp:2", 0, 9600)
    ranks = [one["ranks"][0] | {"gpu_energy": counted, "cpu_energy": cpu} for cpu in (missing, None)]
    runs = by_mode(content([one | {"ranks": ranks}]))["ddp:2"]
    assert energy_of(runs, "gpu") == (1000.0, "")
    assert energy_of(runs, "cpu") == (None, "no RAPL counter")
    assert energy_of(by_mode(uneven())["ddp:2"], "gpu") == (None, "no whole run has measured it")
