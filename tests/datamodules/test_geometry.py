"""Affine maps and the one resampling, compared with numpy, torch and step-by-step coordinates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.geometry import (
    affine_grid,
    affine_resample,
    compose,
    crop,
    flip,
    identity,
    resample,
    rotate,
    shift,
    shrink,
    straight_resample,
)


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def pictures(side: int, count: int = 4) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(side))


def repeated(theta: Tensor, count: int = 4) -> Tensor:
    """One [3, 3] map as float [count, 2, 3]."""
    return theta[:2].float().repeat(count, 1, 1)


def test_composed_map_moves_coordinates_as_the_steps_do_one_after_another() -> None:
    points, amounts = random(20, 2) * 2 - 1, random(20, 8)
    offset, (width, height, x, y) = amounts[:, :2] - 0.5, amounts[:, 2:6].unbind(1)
    flipped, angle = amounts[:, 6] < 0.5, amounts[:, 7] * 2 - 1
    maps = [shift(offset), crop(width, height, x, y), flip(flipped).double(), rotate(angle)]
    homogeneous = torch.cat([points, torch.ones(20, 1, dtype=torch.float64)], dim=1)[:, :, None]
    composed = compose(maps, like=offset).double() @ homogeneous

    # An image is shifted first and rotated last; to find a result's pixel in it, go backwards.
    column, row = points.unbind(1)
    column, row = column * angle.cos() - row * angle.sin(), column * angle.sin() + row * angle.cos()
    column = torch.where(flipped, -column, column)
    left, top = (1 - width) * x * 2 - 1, (1 - height) * y * 2 - 1
    column, row = left + (column + 1) * width, top + (row + 1) * height
    column, row = column + offset[:, 0], row + offset[:, 1]
    torch.testing.assert_close(composed[:, :, 0], torch.stack([column, row], dim=1), rtol=0, atol=1e-14)


def test_no_steps_compose_to_the_identity() -> None:
    assert torch.equal(compose([], like=torch.empty(2, 1)), torch.eye(3).repeat(2, 1, 1)[:, :2])


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_grid_equals_torch_s(size: int) -> None:
    theta = random(5, 2, 3) * 2 - 1
    expected = F.affine_grid(theta, [5, 3, size, size], align_corners=False)
    torch.testing.assert_close(affine_grid(theta, size), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("stored", "size"), [(32, 224), (32, 96), (8, 20), (32, 33)])
def test_identity_enlarges_as_interpolate_does_borders_included(stored: int, size: int) -> None:
    images = pictures(stored)
    expected = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    result = affine_resample(images, repeated(torch.eye(3)), size)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-5)
    assert torch.equal(resample(images, size), expected)


def test_identity_at_the_same_size_changes_nothing() -> None:
    images = pictures(32)
    assert torch.equal(resample(images, 32), images)
    assert torch.equal(affine_resample(images, repeated(torch.eye(3)), 32), images)


def test_shrinking_is_antialiased_with_and_without_a_map() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    for result in (resample(stripes, 16), affine_resample(stripes, repeated(torch.eye(3), 1), 16)):
        # Away from the border every result pixel sees as many black as white stripes.
        torch.testing.assert_close(result[..., 2:-2], torch.full((1, 3, 16, 12), 0.5), rtol=0, atol=1e-3)


def test_shrinking_equals_torch_s_and_leaves_smaller_images_alone() -> None:
    images = pictures(32)
    expected = F.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(shrink(images, 20), expected)
    assert shrink(images, 32) is images
    assert shrink(images, 40) is images


def test_flip_mirrors_exactly_those_that_it_should() -> None:
    images, flipped = pictures(32), torch.tensor([True, False, False, True])
    result = affine_resample(images, flip(flipped)[:, :2], 32)
    assert torch.equal(result[flipped], images[flipped].flip(-1))
    assert torch.equal(result[~flipped], images[~flipped])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, 0), (0, -4), (-3, 2), (4, 4), (-7, -1)])
def test_whole_pixel_shift_is_a_symmetric_pad_and_crop(x: int, y: int) -> None:
    images, pad = pictures(32), 8
    theta = shift(torch.tensor([[x, y]]).repeat(4, 1) * 2 / 32)[:, :2]
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (pad, pad), (pad, pad)], mode="symmetric")
    expected = padded[:, :, pad + y : pad + y + 32, pad + x : pad + x + 32]
    assert np.array_equal(affine_resample(images, theta, 32).numpy(), expected)


def test_quarter_turn_is_counter_clockwise() -> None:
    images = pictures(32)
    theta = rotate(torch.full((4,), math.pi / 2))[:, :2]
    result = affine_resample(images, theta, 32)
    torch.testing.assert_close(result, torch.rot90(images, 1, dims=(-2, -1)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("x", "y", "rows", "columns"), [(0, 0, 0, 0), (1, 0, 0, 16), (0, 1, 16, 0), (0.5, 0.25, 4, 8)])
def test_crop_enlarges_the_window_that_x_and_y_name(x: float, y: float, rows: int, columns: int) -> None:
    images, half = pictures(32), torch.full((4,), 0.5)
    theta = crop(half, half, torch.full((4,), float(x)), torch.full((4,), float(y)))[:, :2]
    window = images[:, :, rows : rows + 16, columns : columns + 16]
    expected = F.interpolate(window, size=(32, 32), mode="bilinear", align_corners=False)
    # The outermost pixels of the result mix with what lies beyond the window.
    torch.testing.assert_close(
        affine_resample(images, theta, 32)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("stored", "size"), [(8, 8), (8, 21), (32, 96), (32, 16)])
def test_without_turns_two_matrix_products_resample_as_one_grid_does(stored: int, size: int) -> None:
    images, amounts = pictures(stored, 6), random(6, 6).float()
    offset, (width, height, x, y) = amounts[:, :2] * 4 - 2, amounts[:, 2:].unbind(1)  # up to a whole image away
    theta = compose([shift(offset), crop(width, height, x, y), flip(x < 0.5)], like=offset)
    result = straight_resample(images, theta, size)
    torch.testing.assert_close(result, affine_resample(images, theta, size), rtol=0, atol=3e-6)
    assert torch.equal(straight_resample(images[2:5], theta[2:5], size), result[2:5])


def test_identity_takes_length_and_type_from_its_model() -> None:
    assert identity(torch.empty(3, 5, dtype=torch.float64)).dtype == torch.float64
    assert identity(torch.empty(3, 5)).shape == (3, 3, 3)
