"""One cycle of the learning rate: its corners, its slopes, and its state."""

from __future__ import annotations

import itertools

import pytest
import torch

from models.schedules import OneCycle

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
