"""How long a device was busy, from the spans of its kernels."""

from __future__ import annotations

from lightning_app.bench.step_profile import busy_seconds


def test_time_in_which_kernels_overlap_counts_once() -> None:
    assert busy_seconds([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75)]) == 4.0  # 0 to 3, and 5 to 6


def test_without_kernels_nothing_was_busy() -> None:
    assert busy_seconds([]) == 0.0
