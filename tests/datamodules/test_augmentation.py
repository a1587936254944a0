"""Every sample has its own draws, and every augmentation its own columns of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules import augmentation as columns
from datamodules.augmentation import DRAWS, Augment
from datamodules.augmentations.color_jitter import jitter
from datamodules.geometry import compose, crop, flip, rotate, shift

NONE: dict[str, Any] = {"flip": 0, "pad_crop": 0}
ALL: dict[str, Any] = {
    "crop_scale": 0.3,
    "flip": 0.5,
    "rotation": 20,
    "pad_crop": 4,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.2,
    "trivial_augment": True,
    "erasing": 0.9,
}
OFF: dict[str, float] = {"crop_scale": 1, **dict.fromkeys(set(ALL) - {"crop_scale"}, 0)}
OWN_COLUMNS = {
    "crop_scale": {columns.SCALE, columns.RATIO, columns.CROP_X, columns.CROP_Y},
    "flip": {columns.FLIP},
    "rotation": {columns.ANGLE},
    "pad_crop": {columns.SHIFT_X, columns.SHIFT_Y},
    "brightness": {columns.BRIGHTNESS},
    "contrast": {columns.CONTRAST},
    "saturation": {columns.SATURATION},
    "hue": {columns.HUE},
    "trivial_augment": {columns.OPERATION, columns.LEVEL, columns.SIGN},
    "erasing": {columns.ERASE, columns.ERASE_AREA, columns.ERASE_RATIO, columns.ERASE_X, columns.ERASE_Y},
}
OF_THE_BATCH = {"mixup", "cutmix"}  # drawn for all its images together; see augmentations/test_mixing.py


def draws(rows: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, DRAWS, generator=torch.Generator().manual_seed(seed))


def picture(rows: int) -> Tensor:
    """The same random image `rows` times."""
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).repeat(rows, 1, 1, 1)


def other_columns(drawn: Tensor, changed: set[int]) -> Tensor:
    """Draws that differ in the columns `changed` only."""
    result = drawn.clone()
    result[:, list(changed)] = (result[:, list(changed)] + 0.5) % 1
    return result


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_augmentation_is_drawn_for_each_sample(name: str) -> None:
    drawn = torch.full((2, DRAWS), 0.25)
    drawn[1] = 0.75
    first, second = Augment(**{**NONE, name: ALL[name]})(picture(2), drawn, 32)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_sample_does_not_depend_on_the_others_in_its_batch(name: str) -> None:
    augment, drawn = Augment(**{**NONE, name: ALL[name]}), draws(5)
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    alone = torch.cat([augment(images[row : row + 1], drawn[row : row + 1], 48) for row in range(5)])
    assert torch.equal(alone, augment(images, drawn, 48))


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_augmentation_follows_its_own_columns_and_no_others(name: str) -> None:
    augment, drawn = Augment(**{**NONE, name: ALL[name]}), draws(4)
    result = augment(picture(4), drawn, 32)
    own = OWN_COLUMNS[name]
    assert torch.equal(augment(picture(4), other_columns(drawn, set(range(DRAWS)) - own), 32), result)
    assert not torch.equal(augment(picture(4), other_columns(drawn, own), 32), result)


def test_columns_are_owned_once_and_all_are_owned() -> None:
    assert sorted(column for own in OWN_COLUMNS.values() for column in own) == list(range(DRAWS))


@pytest.mark.parametrize("name", sorted(ALL))
def test_switching_one_off_leaves_the_others_as_they_were(name: str) -> None:
    off, drawn = Augment(**{**ALL, name: OFF[name]}), draws(4)
    # An augmentation that is off has no effect: the same as if it were on and had drawn "nothing changes".
    assert torch.equal(off(picture(4), drawn, 32), off(picture(4), other_columns(drawn, OWN_COLUMNS[name]), 32))
    on, neutral = Augment(**ALL), drawn.clone()
    neutral[:, list(OWN_COLUMNS[name])] = 0.999 if name in ("flip", "erasing") else 0.5
    neutral[:, columns.OPERATION] = 0 if name == "trivial_augment" else neutral[:, columns.OPERATION]  # Identity
    if name != "crop_scale":  # whose draws cannot say "the whole image" but at the limit of 1
        torch.testing.assert_close(on(picture(4), neutral, 32), off(picture(4), drawn, 32), rtol=0, atol=1e-5)


def test_all_off_is_the_plain_resize() -> None:
    images = picture(2)
    assert torch.equal(Augment(**NONE)(images, draws(2), 32), images)


def test_result_is_float_within_zero_and_one_at_the_size_asked_for() -> None:
    result = Augment(**ALL)(picture(6), draws(6), 48)
    assert (result.shape, result.dtype) == ((6, 3, 48, 48), torch.float32)
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize(
    ("name", "spread", "torchvisions", "neutral"),
    [
        ("brightness", 0.4, tv.adjust_brightness, 1),
        ("contrast", 0.3, tv.adjust_contrast, 1),
        ("saturation", 0.6, tv.adjust_saturation, 1),
        ("hue", 0.2, tv.adjust_hue, 0),
    ],
)
def test_a_colour_is_drawn_from_all_of_its_spread(
    name: str, spread: float, torchvisions: Callable[[Tensor, float], Tensor], neutral: float
) -> None:
    amounts = (0.0, 0.3, 0.5, 0.875)
    drawn = draws(len(amounts))
    drawn[:, list(OWN_COLUMNS[name])] = torch.tensor(amounts)[:, None]
    found = jitter(picture(len(amounts)), *Augment(**{name: spread}).colors(drawn))
    # ColorJitter(brightness=0.4) draws its factor from 0.6 to 1.4: a draw of 0 is the smallest, of nearly 1 the
    # largest.
    expected = [torchvisions(picture(1)[0], neutral - spread + 2 * spread * amount) for amount in amounts]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)


def test_an_image_is_shifted_then_cropped_then_flipped_then_rotated() -> None:
    augment, drawn = Augment(crop_scale=0.3, flip=0.5, rotation=20, pad_crop=4), draws(8)
    width, height = augment.window(drawn)
    maps = [
        shift((torch.floor(drawn[:, [columns.SHIFT_X, columns.SHIFT_Y]] * 9) - 4) / 16),
        crop(width, height, drawn[:, columns.CROP_X], drawn[:, columns.CROP_Y]),
        flip(drawn[:, columns.FLIP] < 0.5),
        rotate(torch.deg2rad(40 * drawn[:, columns.ANGLE] - 20)),
    ]
    torch.testing.assert_close(augment.theta(drawn, 32), compose(maps, like=drawn))
    for first in range(3):  # in any other order, it is another map
        swapped = [*maps[:first], maps[first + 1], maps[first], *maps[first + 2 :]]
        assert not torch.allclose(augment.theta(drawn, 32), compose(swapped, like=drawn), atol=1e-3)


@pytest.fixture
def extreme_draws() -> Tensor:
    """Random draws, and all combinations of smallest and largest for the crop's four."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1 - 2**-24])] * 4)
    drawn = draws(2000 + len(corners))
    drawn[: len(corners), [columns.SCALE, columns.RATIO, columns.CROP_X, columns.CROP_Y]] = corners
    return drawn


@pytest.mark.parametrize("scale", [0.08, 0.5, 0.999])
def test_crop_window_lies_within_the_image(scale: float, extreme_draws: Tensor) -> None:
    theta = Augment(**{**NONE, "crop_scale": scale}).theta(extreme_draws, 32)
    reach = theta[:, :, :2].abs().sum(dim=2) + theta[:, :, 2].abs()
    assert reach.max() <= 1 + 1e-6


@pytest.mark.parametrize("scale", [0.08, 0.5, 0.999])
def test_crop_keeps_area_and_ratio_within_bounds(scale: float, extreme_draws: Tensor) -> None:
    width, height = Augment(crop_scale=scale, crop_ratio=4 / 3).window(extreme_draws)
    area, ratio = width * height, width / height
    assert area.min() >= scale - 1e-6
    assert area.max() <= 1 + 1e-6
    assert ratio.min() >= 3 / 4 - 1e-6
    assert ratio.max() <= 4 / 3 + 1e-6


def test_shift_is_whole_pixels_up_to_the_pad_on_both_sides() -> None:
    drawn = draws(2000)
    drawn[0], drawn[1] = 0, 1 - 2**-24
    pixels = Augment(flip=0, pad_crop=4).theta(drawn, 32)[:, :, 2] * 32 / 2
    assert set(pixels.flatten().tolist()) == set(range(-4, 5))


@pytest.mark.parametrize(("chance", "flipped"), [(0.0, 0), (0.25, 250), (1.0, 1000)])
def test_flip_has_the_chance_it_is_given(chance: float, flipped: int) -> None:
    drawn = torch.zeros(1000, DRAWS)
    drawn[:, columns.FLIP] = torch.arange(1000) / 1000
    theta = Augment(flip=chance, pad_crop=0).theta(drawn, 32)
    assert int((theta[:, 0, 0] == -1).sum()) == flipped


def test_rotation_stays_within_its_angle() -> None:
    drawn = draws(2)
    drawn[0], drawn[1] = 0, 1 - 2**-24
    theta = Augment(**{**NONE, "rotation": 30}).theta(drawn, 32)
    angles = torch.rad2deg(torch.atan2(theta[:, 1, 0], theta[:, 0, 0]))
    torch.testing.assert_close(angles, torch.tensor([-30.0, 30.0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_scale", 0.0),
        ("crop_scale", 1.1),
        ("crop_ratio", 0.5),
        ("flip", -0.1),
        ("flip", 1.5),
        ("rotation", -1.0),
        ("rotation", 200.0),
        ("pad_crop", -1),
        ("brightness", -0.1),
        ("contrast", 1.1),
        ("saturation", 2.0),
        ("hue", 0.6),
        ("hue", float("nan")),
        ("erasing", 1.1),
        ("mixup", -0.1),
        ("cutmix", float("nan")),
    ],
)
def test_option_out_of_range_is_an_error_that_names_it_and_its_value(name: str, value: float) -> None:
    make: Callable[..., Augment] = Augment
    with pytest.raises(ValueError, match=rf"augment\.{name} is {value}; expected"):
        make(**{name: value})


def test_every_option_is_tried_above() -> None:
    assert {field.name for field in fields(Augment)} == {*ALL, "crop_ratio", *OF_THE_BATCH}


@pytest.mark.parametrize(
    ("stored", "turned", "quickest"),
    [
        (64, {}, "straight"),
        (65, {}, "affine"),
        (32, {"rotation": 5.0}, "affine"),
        (32, {"trivial_augment": True}, "affine"),
    ],
)
def test_images_are_resampled_the_quicker_way(
    stored: int, turned: dict[str, Any], quickest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    for way in ("straight", "affine"):
        monkeypatch.setattr(columns, f"{way}_resample", lambda *_, way=way: taken.append(way))
    Augment(**turned)(torch.rand(2, 3, stored, stored), torch.rand(2, DRAWS), 96)
    assert taken == [quickest]
