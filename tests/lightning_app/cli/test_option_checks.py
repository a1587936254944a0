"""The smallest part of a batch that a rank gets."""

from __future__ import annotations

import pytest

from datamodules.sampling import TrainShards
from lightning_app.cli.option_checks import smallest_share


@pytest.mark.parametrize("images", [7, 8, 9, 31, 33])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_it_is_that_of_the_shards(images: int, batch_size: int, world_size: int) -> None:
    ranks = [TrainShards(images, batch_size, rank, world_size, epoch=lambda: 0) for rank in range(world_size)]
    assert smallest_share(images, batch_size, world_size) == min(shard.size for rank in ranks for shard in rank)
