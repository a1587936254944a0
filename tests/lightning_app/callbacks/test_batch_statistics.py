"""The statistics that all ranks evaluate with are the mean of each rank's own."""

from __future__ import annotations

import pytest
import torch

from lightning_app.callbacks.batch_statistics import average_buffers


def test_statistics_are_the_mean_over_the_ranks_and_counters_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(1))
    for module, mean, variance in zip(norms, ([1.0, 2.0], [3.0]), ([4.0, 5.0], [6.0]), strict=True):
        module.running_mean, module.running_var = torch.tensor(mean), torch.tensor(variance)
        module.num_batches_tracked += 7
    others = torch.tensor([10.0, 20.0, 40.0, 50.0, 30.0, 60.0]) * 3  # the sum of the three other ranks
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(others))
    average_buffers(norms, world_size=4)
    # (1 + 30) / 4 and so on, each buffer with its own
    assert norms[0].running_mean.tolist() == [7.75, 15.5]
    assert norms[0].running_var.tolist() == [31.0, 38.75]
    assert (norms[1].running_mean.tolist(), norms[1].running_var.tolist()) == ([23.25], [46.5])
    assert [module.num_batches_tracked.item() for module in norms] == [7, 7]
