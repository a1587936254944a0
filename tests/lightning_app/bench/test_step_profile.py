"""How long a device was busy, from the spans of its kernels."""

from __future__ import annotations

from lightning_app.bench.step_profile import busy_seconds, floor, step_bytes


def test_time_in_which_kernels_overlap_counts_once() -> None:
    assert busy_seconds([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75)]) == 4.0  # 0 to 3, and 5 to 6


def test_without_kernels_nothing_was_busy() -> None:
    assert busy_seconds([]) == 0.0


def test_the_floor_grows_with_batch_pixels_and_bytes() -> None:
    least = step_bytes(2, 32, 2)
    # The first layer alone: a convolution from 3x32x32 to 32x16x16, and a batch norm of the latter.
    assert least > 2 * 2 * 3 * (3 * 32 * 32 + 3 * 32 * 16 * 16)
    assert [step_bytes(4, 32, 2), step_bytes(2, 64, 2), step_bytes(2, 32, 4)] == [2 * least, 4 * least, 2 * least]


def test_the_floor_is_told_with_how_far_a_step_is_from_it() -> None:
    assert floor(12_000_000_000, 3e12, 0.01) == (
        "floor of a step: 12 GB at 3000 GB/s, 4 ms; a step takes 2.5 times that"
    )
