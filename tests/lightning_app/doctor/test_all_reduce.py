"""A sum over all ranks is checked in every position, and timed without the round that opens connections."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_app.doctor import all_reduce
from lightning_app.doctor.all_reduce import Reduction, reduce_numbers


@pytest.mark.parametrize(("missed", "right"), [(None, True), (4, False)])
def test_one_wrong_number_is_noticed_and_the_rounds_are_timed(
    missed: int | None, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is rank 1 of 3: the others add 1 and 3."""

    def add(numbers: Tensor, group: object) -> None:
        numbers += 4
        if missed is not None:
            numbers[missed] -= 1

    ends = iter([0.0, 9.0, 10.0, 10.25, 20.0, 20.5, 30.0, 30.125, 40.0, 44.0, 50.0, 51.0])
    monkeypatch.setattr(all_reduce, "NUMBERS", 5)
    monkeypatch.setattr(all_reduce.time, "perf_counter", lambda: next(ends))
    monkeypatch.setattr(all_reduce.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(all_reduce.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(all_reduce.dist, "all_reduce", add)
    assert reduce_numbers("gloo", torch.device("cpu")) == Reduction("gloo", right, 500.0, 4000.0)
