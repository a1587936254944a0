"""One cycle of the learning rate: its corners, its slopes, and its state."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from models.errors import ModelError
from models.schedules import OneCycle, PerStep, steps_of_run

PEAK = 0.5


def one_cycle(total_steps: int, warmup: float = 0.2, start: float = 0.04) -> OneCycle:
    """A schedule over one parameter, told its length."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = OneCycle(optimizer, warmup, start)
    schedule.set_total_steps(total_steps)
    return schedule


def rates(schedule: OneCycle, steps: int) -> list[float]:
    """The rate of each of the next optimizer steps."""
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def test_it_starts_at_its_share_peaks_after_the_warmup_and_ends_at_zero() -> None:
    schedule = one_cycle(100)
    found = rates(schedule, 100)
    assert found[0] == pytest.approx(0.04 * PEAK)
    assert found[20] == PEAK == max(found)
    assert found[60] == pytest.approx(PEAK / 2)  # half way down the cosine
    assert schedule.get_last_lr() == [0.0]


def test_it_climbs_in_a_straight_line_and_then_only_falls() -> None:
    found = rates(one_cycle(100), 100)
    climbs = [after - before for before, after in itertools.pairwise(found[:21])]
    assert climbs == pytest.approx([0.96 * PEAK / 20] * 20)
    assert all(after < before for before, after in itertools.pairwise(found[20:]))


def test_it_stays_at_zero_beyond_its_length() -> None:
    assert rates(one_cycle(5), 8)[5:] == [0.0, 0.0, 0.0]


def test_without_a_warmup_it_starts_at_the_peak() -> None:
    assert rates(one_cycle(10, warmup=0.0), 1) == [PEAK]


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 1.5])
def test_a_warmup_that_leaves_nothing_to_come_down_is_refused(warmup: float) -> None:
    with pytest.raises(ValueError, match=f"warmup is {warmup}"):
        one_cycle(10, warmup=warmup)


def test_its_state_carries_on_where_it_was() -> None:
    whole = rates(one_cycle(20, warmup=0.3), 20)
    first, second = one_cycle(20, warmup=0.3), one_cycle(1)
    rates(first, 8)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert rates(second, 12) == whole[8:]


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)


def per_step(
    total_steps: int, *schedules: tuple[str, dict[str, Any]], milestones: list[float] | None = None
) -> PerStep:
    """Schedules as a config names them, over a run of so many steps."""
    named = [{"class_path": f"torch.optim.lr_scheduler.{name}", "init_args": options} for name, options in schedules]
    schedule = PerStep(sgd(), named, milestones)
    schedule.set_total_steps(total_steps)
    return schedule


WARM_UP = ("LinearLR", {"start_factor": 0.1, "total_iters": 5})
COSINE = ("CosineAnnealingLR", {"T_max": "auto"})


@pytest.mark.parametrize("milestone", [5, 0.125])
def test_schedules_in_turn_are_torchs_sequence_with_the_length_of_the_run(milestone: float) -> None:
    optimizer = sgd()
    parts = [LinearLR(optimizer, start_factor=0.1, total_iters=5), CosineAnnealingLR(optimizer, T_max=40)]
    expected = rates(SequentialLR(optimizer, parts, [5]), 40)
    assert rates(per_step(40, WARM_UP, COSINE, milestones=[milestone]), 40) == expected


def test_schedules_at_once_are_multiplied() -> None:
    found = rates(per_step(40, WARM_UP, COSINE), 40)
    alone = [rates(per_step(40, each), 40) for each in (WARM_UP, COSINE)]
    assert found == pytest.approx([one * other / PEAK for one, other in zip(*alone, strict=True)])


@pytest.mark.parametrize("milestones", [None, [5]])
def test_the_state_of_several_schedules_carries_on_where_it_was(milestones: list[float] | None) -> None:
    whole = rates(per_step(20, WARM_UP, COSINE, milestones=milestones), 20)
    first, second = (per_step(20, WARM_UP, COSINE, milestones=milestones) for _ in range(2))
    rates(first, 8)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert rates(second, 12) == whole[8:]


@pytest.mark.parametrize(
    ("schedules", "milestones", "said"),
    [
        ([], None, "schedules is empty"),
        ([{"class_path": "torch.optim.lr_scheduler.StepLR"}], [3], "has 1 schedules and 1 milestones; expected 0"),
        ([{"class_path": "torch.optim.lr_scheduler.NoLR"}], None, "has no schedule 'torch.optim.lr_scheduler.NoLR'"),
        ([{"class_path": "torch.optim.SGD"}], None, "torch.optim.SGD is not a torch schedule"),
        ([{"class_path": "StepLR", "init_args": {"size": 1}}], None, "StepLR cannot be created .*size"),
    ],
)
def test_schedules_that_cannot_be_made_are_one_error(
    schedules: list[dict[str, Any]], milestones: list[float] | None, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        PerStep(sgd(), schedules, milestones).set_total_steps(10)


@pytest.mark.parametrize(
    ("limits", "accumulate", "steps"),
    [
        ((3, -1), [(0, 1)], 69),
        ((-1, 500), [(0, 1)], 500),
        ((None, 500), [(0, 1)], 500),
        ((3, 7), [(0, 4)], 7),
        ((-1, -1), [(0, 1)], None),
        ((0, -1), [(0, 1)], 0),  # as Lightning has it: nothing is trained
        ((3, 0), [(0, 1)], 0),
        ((5, -1), [(0, 1), (2, 4)], 23 + 23 + 6 + 6 + 6),  # from the third epoch on, four batches a step
        ((5, -1), [(0, 2), (9, 4)], 5 * 12),  # an end that is never reached
    ],
)
def test_the_steps_of_a_run_follow_from_its_limits(
    limits: tuple[int | None, int], accumulate: list[tuple[int, int]], steps: int | None
) -> None:
    assert steps_of_run(23, *limits, accumulate) == steps
