"""TrivialAugment's operations are torchvision's, tested one by one; geometric ones are compared by their result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide

from datamodules.augmentations import trivial_augment
from datamodules.augmentations.trivial_augment import INDEX, LEVELS, OPERATIONS, Choice, choose, geometry, recoloring
from datamodules.geometry import affine_resample

SIDE = 48
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
LEFT_OUT = {"Sharpness", "Equalize"}


def picture() -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def recolor(images: Tensor, choice: Choice) -> Tensor:
    """The operations on colours that were chosen."""
    return trivial_augment.recolor(images, recoloring(choice))


def choice_of(name: str, bin_: int, sign: float) -> Choice:
    """One operation for one image."""
    return Choice(torch.tensor([INDEX[name]]), torch.tensor([bin_ / (LEVELS - 1)]), torch.tensor([sign]))


def torchvisions(image: Tensor, name: str, bin_: int, sign: float) -> Tensor:
    """The same by torchvision, black beyond the edge."""
    magnitudes, signed = TrivialAugmentWide._AUGMENTATION_SPACE[name]
    of_bins = magnitudes(LEVELS, SIDE, SIDE)
    magnitude = 0.0 if of_bins is None else float(of_bins[bin_]) * (sign if signed else 1)
    transform = TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
    return transform._apply_image_or_video_transform(
        image, name, magnitude, InterpolationMode.BILINEAR, {torch.Tensor: 0}
    )


def test_the_operations_are_torchvisions_but_for_two() -> None:
    assert set(OPERATIONS) == set(TrivialAugmentWide._AUGMENTATION_SPACE) - LEFT_OUT


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("bin_", [0, 7, 30])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - set(GEOMETRIC)))
def test_a_colour_operation_is_torchvisions(name: str, bin_: int, sign: float) -> None:
    found = recolor(picture(), choice_of(name, bin_, sign))
    torch.testing.assert_close(found, torchvisions(picture(), name, bin_, sign), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("bin_", [0, 7, 30])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_a_geometric_operation_shows_what_torchvision_shows_where_that_is_in_the_image(
    name: str, bin_: int, sign: float
) -> None:
    theta = geometry(choice_of(name, bin_, sign), SIDE)[:, :2]
    found = affine_resample(picture(), theta, SIDE)
    inside = torchvisions(torch.ones(1, 3, SIDE, SIDE), name, bin_, sign) > 1 - 1e-6
    assert inside.float().mean() > 0.25
    expected = torchvisions(picture(), name, bin_, sign)
    torch.testing.assert_close(found[inside], expected[inside], rtol=0, atol=2e-4)


def test_each_image_of_a_batch_gets_its_own_operation_and_only_that() -> None:
    names = list(OPERATIONS)
    together = Choice(torch.arange(len(names)), torch.full((len(names),), 0.6), torch.tensor([1.0, -1.0] * 6))
    images = picture().repeat(len(names), 1, 1, 1)
    colours, maps = recolor(images, together), geometry(together, SIDE)
    for index, name in enumerate(names):
        alone = choice_of(name, 18, 1.0 if index % 2 == 0 else -1.0)
        assert torch.equal(colours[index], recolor(picture(), alone)[0])
        assert torch.equal(maps[index], geometry(alone, SIDE)[0])
    unchanged = [name for index, name in enumerate(names) if torch.equal(maps[index], torch.eye(3))]
    assert set(unchanged) == set(OPERATIONS) - set(GEOMETRIC)


def test_draws_reach_every_operation_level_and_sign_alike() -> None:
    draws = (torch.arange(12 * 31) + 0.5) / (12 * 31)
    found = choose(draws, draws, draws)
    assert found.operation.bincount().tolist() == [31] * 12
    assert found.level.unique(return_counts=True)[1].tolist() == [12] * 31
    assert (found.level.min(), found.level.max()) == (0, 1)
    assert int((found.sign == 1).sum()) == int((found.sign == -1).sum()) == 12 * 31 // 2
