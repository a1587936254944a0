"""Each colour step is torchvision's, with one factor per sample."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.augmentations.color_jitter import jitter

FACTORS = torch.tensor([0.0, 0.35, 0.8, 1.0, 1.3, 1.9])
TURNS = torch.tensor([-0.5, -0.21, 0.0, 0.07, 0.33, 0.5])


@pytest.fixture
def images() -> Tensor:
    """Random pixels, and among them black, white, grey and pure colours."""
    images = torch.rand(6, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, :2] = torch.tensor([0.0, 1.0])
    images[:, :, 0, 2] = 0.5
    images[:, :, 1, :3] = torch.eye(3)
    return images


def one_by_one(images: Tensor, amounts: Tensor, step: Callable[[Tensor, float], Tensor]) -> Tensor:
    return torch.stack([step(image, float(amount)) for image, amount in zip(images, amounts, strict=True)])


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("brightness", tv.adjust_brightness),
        ("contrast", tv.adjust_contrast),
        ("saturation", tv.adjust_saturation),
    ],
)
def test_step_equals_torchvision_sample_by_sample(
    images: Tensor, name: str, step: Callable[[Tensor, float], Tensor]
) -> None:
    expected = one_by_one(images, FACTORS, step)
    torch.testing.assert_close(jitter(images, **{name: FACTORS}), expected, rtol=0, atol=2e-6)


def test_hue_equals_torchvision_sample_by_sample(images: Tensor) -> None:
    expected = one_by_one(images, TURNS, tv.adjust_hue)
    torch.testing.assert_close(jitter(images, hue=TURNS), expected, rtol=0, atol=1e-5)


def test_steps_follow_each_other_in_torchvision_s_order(images: Tensor) -> None:
    expected = images
    for step, amounts in ((tv.adjust_brightness, FACTORS), (tv.adjust_contrast, FACTORS.flip(0))):
        expected = one_by_one(expected, amounts, step)
    for step, amounts in ((tv.adjust_saturation, FACTORS), (tv.adjust_hue, TURNS)):
        expected = one_by_one(expected, amounts, step)
    result = jitter(images, brightness=FACTORS, contrast=FACTORS.flip(0), saturation=FACTORS, hue=TURNS)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


def test_neutral_amounts_change_nothing(images: Tensor) -> None:
    ones, zeros = torch.ones(6), torch.zeros(6)
    result = jitter(images, brightness=ones, contrast=ones, saturation=ones, hue=zeros)
    torch.testing.assert_close(result, images, rtol=0, atol=1e-6)


def test_no_step_is_the_same_tensor(images: Tensor) -> None:
    assert jitter(images) is images


def test_input_stays_as_it_was(images: Tensor) -> None:
    before = images.clone()
    jitter(images, brightness=FACTORS, contrast=FACTORS, saturation=FACTORS, hue=TURNS)
    assert torch.equal(images, before)


def test_result_stays_within_zero_and_one(images: Tensor) -> None:
    result = jitter(images, brightness=FACTORS, contrast=FACTORS, saturation=FACTORS, hue=TURNS)
    assert result.min() >= 0
    assert result.max() <= 1
