"""The ranks' shards add up to the global batch, and evaluation sees every image once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from datamodules.augmentation import FIRST_DRAWS
from datamodules.sampling import EvalShards, Shard, TrainShards, draw_epoch

WORLD_SIZES = [1, 2, 3, 4]
# rows, batch_size: divided by all ranks, by none, a short last batch, one smaller than the ranks, one batch only.
EPOCHS = [(48, 12), (35, 7), (40, 16), (33, 16), (5, 64)]


def train_steps(rows: int, batch_size: int, world_size: int) -> list[tuple[Shard, ...]]:
    """Step by step, the shards of all ranks."""
    ranks = [TrainShards(rows, batch_size, rank, world_size, epoch=lambda: 2) for rank in range(world_size)]
    return list(zip(*ranks, strict=True))


@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize(("rows", "batch_size"), EPOCHS)
def test_ranks_together_see_exactly_the_global_batch(rows: int, batch_size: int, world_size: int) -> None:
    steps = train_steps(rows, batch_size, world_size)
    seen = [[row for shard in shards for row in range(shard.start, shard.stop)] for shards in steps]
    assert seen == [list(range(first, min(first + batch_size, rows))) for first in range(0, rows, batch_size)]


@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize(("rows", "batch_size"), EPOCHS)
def test_each_shard_knows_the_size_of_its_global_batch(rows: int, batch_size: int, world_size: int) -> None:
    for shards in train_steps(rows, batch_size, world_size):
        counted = sum(shard.stop - shard.start for shard in shards)
        assert [shard.global_size for shard in shards] == [counted] * world_size


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_shards_of_a_step_differ_by_one_image_at_most(world_size: int) -> None:
    for shards in train_steps(35, 7, world_size):
        sizes = [shard.stop - shard.start for shard in shards]
        assert max(sizes) - min(sizes) <= 1


def test_rank_without_an_image_pads_with_one_that_is_not_counted() -> None:
    last = train_steps(rows=33, batch_size=16, world_size=4)[-1]
    assert [(shard.stop - shard.start, shard.size) for shard in last] == [(0, 1), (0, 1), (0, 1), (1, 1)]


def test_loader_length_is_the_number_of_global_batches_on_every_rank() -> None:
    assert [len(TrainShards(33, 16, rank, 4, epoch=lambda: 0)) for rank in range(4)] == [3, 3, 3, 3]


def test_epoch_is_asked_for_when_an_epoch_starts() -> None:
    epochs = itertools.count(5)
    shards = TrainShards(4, 2, 0, 1, epoch=lambda: next(epochs))
    assert [[shard.epoch for shard in shards] for _ in range(2)] == [[5, 5], [6, 6]]


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_an_epoch_that_is_gone_on_with_is_the_rest_of_it(world_size: int) -> None:
    ranks = [TrainShards(35, 8, rank, world_size, epoch=lambda: 2, behind=lambda: 3) for rank in range(world_size)]
    assert list(zip(*ranks, strict=True)) == train_steps(35, 8, world_size)[3:]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (4, 3)])
def test_an_epoch_that_goes_on_with_other_ranks_has_the_same_batches_in_the_same_order(before: int, after: int) -> None:
    behind = 3
    first = train_steps(35, 8, before)[:behind]
    ranks = [TrainShards(35, 8, rank, after, epoch=lambda: 2, behind=lambda: behind) for rank in range(after)]
    steps = [*first, *zip(*ranks, strict=True)]
    rows = [[position for shard in shards for position in range(shard.start, shard.stop)] for shards in steps]
    assert rows == [list(range(start, min(start + 8, 35))) for start in range(0, 35, 8)]
    assert {shard.epoch for shards in steps for shard in shards} == {2}


def test_order_is_a_permutation() -> None:
    order = draw_epoch(1000, seed=1, epoch=0).order
    assert order.sort().values.tolist() == list(range(1000))
    assert order.tolist() != list(range(1000))


def test_order_and_draws_depend_on_seed_and_epoch_alone() -> None:
    first = draw_epoch(50, seed=1, epoch=2)
    torch.manual_seed(99)
    again = draw_epoch(50, seed=1, epoch=2)
    assert torch.equal(first.order, again.order)
    assert torch.equal(first.draws, again.draws)
    others = [draw_epoch(50, seed, epoch) for seed, epoch in ((1, 3), (2, 2), (2, 1))]
    assert not any(torch.equal(first.order, other.order) for other in others)
    assert not any(torch.equal(first.draws, other.draws) for other in others)


def test_drawing_an_epoch_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    draw_epoch(50, seed=1, epoch=2)
    assert torch.equal(torch.rand(1), expected)


def eval_shards(rows: int, chunk_size: int, world_size: int) -> list[Shard]:
    """The shards of all ranks."""
    return [shard for rank in range(world_size) for shard in EvalShards("val", rows, chunk_size, rank, world_size)]


@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize(("rows", "chunk_size"), [(12, 3), (10, 4), (13, 5), (1, 4), (7, 1)])
def test_evaluation_scores_each_image_exactly_once(rows: int, chunk_size: int, world_size: int) -> None:
    shards = eval_shards(rows, chunk_size, world_size)
    assert sorted(row for shard in shards for row in range(shard.start, shard.stop)) == list(range(rows))
    assert all(shard.global_size == shard.stop - shard.start for shard in shards)


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_evaluation_chunks_do_not_depend_on_the_number_of_ranks(world_size: int) -> None:
    alone = {shard for shard in eval_shards(103, 10, world_size=1) if shard.global_size}
    assert {shard for shard in eval_shards(103, 10, world_size) if shard.global_size} == alone
    assert {shard.size for shard in alone} == {10}


def test_rank_beyond_the_last_chunk_gets_one_of_padding_only() -> None:
    shards = [list(EvalShards("test", 7, 5, rank, 4)) for rank in range(4)]
    assert [[(shard.start, shard.stop, shard.size) for shard in rank] for rank in shards] == [
        [(0, 5, 5)],
        [(5, 7, 5)],
        [(0, 0, 5)],
        [(0, 0, 5)],
    ]


@pytest.mark.parametrize("world_size", [*WORLD_SIZES, 20])
def test_evaluation_length_is_what_it_yields_and_never_zero(world_size: int) -> None:
    loaders = [EvalShards("val", 103, 10, rank, world_size) for rank in range(world_size)]
    assert [len(loader) for loader in loaders] == [len(list(loader)) for loader in loaders]
    assert min(len(loader) for loader in loaders) >= 1


def test_the_order_and_the_first_draws_are_those_of_every_version_before() -> None:
    """Resumed runs, and the recipes' figures, depend on them."""
    drawn = draw_epoch(5, seed=3, epoch=2)
    order_seed, draws_seed = np.random.SeedSequence((3, 2)).generate_state(2, np.uint64)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(int(order_seed >> 1)))
    draws = torch.rand(5, 12, generator=torch.Generator().manual_seed(int(draws_seed >> 1)))
    assert torch.equal(drawn.order, order)
    assert torch.equal(drawn.draws[:, :FIRST_DRAWS], draws)


LABELS = torch.tensor([0] * 50 + [1] * 9 + [4] * 3)


def test_a_balanced_order_has_as_many_images_of_each_class_and_repeats_none_needlessly() -> None:
    order = draw_epoch(len(LABELS), seed=1, epoch=0, balanced=LABELS).order
    found = LABELS[order].bincount()[[0, 1, 4]].tolist()
    assert sorted(found) == [20, 21, 21]
    times = order.bincount(minlength=len(LABELS))
    for label, of_class in ((0, found[0]), (1, found[1]), (4, found[2])):
        of_images = times[label == LABELS]
        assert {of_class // len(of_images), -(-of_class // len(of_images))} >= set(of_images.tolist())


def test_a_balanced_order_differs_by_epoch_and_not_by_what_was_drawn_before() -> None:
    first, again, other = (draw_epoch(len(LABELS), 1, epoch, LABELS).order for epoch in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(LABELS[first], LABELS[first].sort().values)  # shuffled across classes
    of_images = draw_epoch(len(LABELS), 1, 3).draws
    assert torch.equal(draw_epoch(len(LABELS), 1, 3, LABELS).draws, of_images)
