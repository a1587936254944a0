"""When a checkpoint is due: by steps, by minutes, and never for more than its share of the time."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_app.checkpointing.schedule import SavingClock, SavingOptions
from lightning_app.errors import UsageError


class Time:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_checkpoint_is_due_after_so_many_steps() -> None:
    clock = SavingClock(SavingOptions(every_n_steps=10), step=5, now=Time())
    assert [step for step in range(5, 17) if clock.due(step)] == [15, 16]


def test_or_after_so_many_minutes() -> None:
    now = Time()
    clock = SavingClock(SavingOptions(every_n_minutes=2), step=0, now=now)
    now.seconds = 119
    assert not clock.due(3)
    now.seconds = 120
    assert clock.due(3)


def test_it_waits_until_all_of_them_and_that_of_the_end_are_a_hundredth_of_the_time() -> None:
    now = Time()
    clock = SavingClock(SavingOptions(every_n_steps=1), step=0, now=now)
    now.seconds = 3.0
    clock.kept_in_memory(began=2.0)
    clock.wrote(1, began=1.0)  # 1 second and 2, and 4 are to come
    now.seconds = 695.0
    assert not clock.due(50)
    now.seconds = 696.0
    assert clock.due(50)


def test_the_summary_counts_what_was_only_kept_in_memory() -> None:
    now = Time()
    clock = SavingClock(SavingOptions(), step=0, now=now)
    now.seconds = 100.0
    clock.kept_in_memory(began=99.75)
    clock.wrote(7, began=99.5)
    expected = "saved 1 times, and kept the best in memory 1 times, in 0.75 s: 0.75% of the training time"
    assert clock.summary() == expected


def test_a_share_of_all_saves_at_every_step() -> None:
    now = Time()
    clock = SavingClock(SavingOptions(every_n_steps=1, max_share=1.0), step=0, now=now)
    now.seconds = 5.0
    clock.wrote(1, began=0.0)
    assert clock.due(2)


def test_one_that_could_not_be_written_is_due_again_after_a_tenth() -> None:
    now = Time()
    clock = SavingClock(SavingOptions(every_n_steps=100, every_n_minutes=10), step=0, now=now)
    now.seconds = 30.0
    clock.failed(100, began=30.0)
    assert [step for step in range(100, 112) if clock.due(step)] == [110, 111]
    assert clock.written == 0
    now.seconds = 30.0 + 59
    assert not clock.due(101)
    now.seconds = 30.0 + 60
    assert clock.due(101)


@pytest.mark.parametrize(
    "wrong", [{"every_n_steps": 0}, {"keep": 0}, {"every_n_minutes": 0.0}, {"max_share": 0.0}, {"max_share": 1.5}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--checkpoint.{next(iter(wrong))}"):
        SavingOptions(**wrong)
