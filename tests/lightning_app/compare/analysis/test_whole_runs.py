"""Where the wall time of whole runs went, and when they reached an accuracy."""

from __future__ import annotations

import pytest
from invented_comparison import content, whole

from lightning_app.compare.analysis.mode_runs import modes_of
from lightning_app.compare.analysis.whole_runs import (
    WALL_TIME_PARTS,
    common_target,
    median_parts,
    times_to_accuracy,
    wall_time_parts,
)


def test_the_parts_of_a_run_are_all_of_it() -> None:
    parts = wall_time_parts(whole("cpu:1", 0, 9600))
    # 100 s: began training at 15, first step until 20, training ended at 90; 10 of validation and 1 of saving in it.
    assert parts == pytest.approx(
        dict(zip(WALL_TIME_PARTS, (10.0, 5.0, 5.0, 59.0, 10.0, 1.0, 6.0, 4.0), strict=True)), abs=1e-9
    )


def test_parts_of_several_seeds_are_their_medians() -> None:
    (cpu, _) = modes_of(content([whole("cpu:1", seed, 9600, seconds) for seed, seconds in enumerate((100, 200, 900))]))
    assert median_parts(cpu)["test"] == pytest.approx(12.0)


def test_time_to_accuracy_ends_with_the_first_validation_that_reaches_it() -> None:
    (cpu, _) = modes_of(content([whole("cpu:1", 0, 9600), whole("cpu:1", 1, 8900)]))
    assert times_to_accuracy(cpu, 0.9) == [pytest.approx(60), pytest.approx(60)]
    assert times_to_accuracy(cpu, 0.95) == [pytest.approx(80), None]


def test_without_a_target_it_is_what_every_run_reached() -> None:
    assert common_target(modes_of(content([whole("cpu:1", 0, 9600), whole("ddp:2", 0, 9400)]))) == 0.94
