"""What differs between ranks is averaged where it is used, and saved for resuming."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_app.callbacks.batch_statistics import average_buffers
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.rank_state import RankState

# Two features; mean and variance of each of two ranks, and their mean.
RANK_0, RANK_1, MEAN = [1.0, 2.0, 3.0, 4.0], [3.0, 6.0, 5.0, 8.0], [2.0, 4.0, 4.0, 6.0]


def network(statistics: list[float]) -> nn.Sequential:
    """A batch norm with these running means and variances."""
    norm = nn.BatchNorm1d(2)
    norm.running_mean, norm.running_var = torch.tensor(statistics[:2]), torch.tensor(statistics[2:])
    return nn.Sequential(norm)


def statistics_of(module: nn.Module) -> list[float]:
    return [value for name in ("0.running_mean", "0.running_var") for value in module.state_dict()[name].tolist()]


def test_batch_statistics_are_the_mean_over_the_ranks_and_counts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_rank_1(flat: Tensor) -> None:
        flat += torch.tensor(RANK_1)

    monkeypatch.setattr(torch.distributed, "all_reduce", add_rank_1)
    module = network(RANK_0)
    average_buffers(module, world_size=2)
    assert statistics_of(module) == MEAN
    assert module.state_dict()["0.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("world_size", "rank", "statistics", "loss"), [(2, 0, RANK_0, 1.0), (2, 1, RANK_1, 3.0), (1, 0, MEAN, 4.0)]
)
def test_a_rank_gets_its_own_statistics_back_and_another_world_size_the_mean_of_all(
    world_size: int, rank: int, statistics: list[float], loss: float
) -> None:
    """The losses are parts of a sum over ranks: with another world size, they are divided again."""
    state = RankState()
    module: Any = network([9.0] * 4)
    module.device, module.loss_since_log = torch.device("cpu"), []
    trainer: Any = SimpleNamespace(world_size=world_size, global_rank=rank, callbacks=[])
    saved = {"statistics": torch.tensor([RANK_0, RANK_1]), "losses": torch.tensor([[1.0], [3.0]])}
    state.on_load_checkpoint(trainer, module, {"ranks": saved})
    state.on_train_start(trainer, module)
    assert statistics_of(module) == statistics
    assert [float(each) for each in module.loss_since_log] == [loss]


def test_the_average_of_weights_averages_batch_statistics_too_and_takes_over_counts() -> None:
    ema = EMA()
    average, current = network(RANK_0), network(RANK_1)
    with torch.no_grad():
        average[0].weight.fill_(2.0)
        current[0].weight.fill_(6.0)
    current[0].num_batches_tracked.fill_(7)
    ema._average_model = SimpleNamespace(module=average, n_averaged=0)  # type: ignore[assignment]
    ema.update(current, kept=0.75)  # type: ignore[arg-type]
    assert average[0].weight.tolist() == [3.0, 3.0]
    assert statistics_of(average) == [1.5, 3.0, 3.5, 5.0]
    assert average[0].num_batches_tracked == 7
    assert ema.averaged.n_averaged == 1
