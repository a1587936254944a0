"""The cores used by other work, from the kernel's clock and our own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_app.compare.trials.other_load import Clock, read_clock


def test_what_is_busy_and_not_ours_is_others() -> None:
    before, after = Clock(100.0, 5000.0, 70.0), Clock(110.0, 5024.0, 88.0)
    assert after.other_cores_since(before) == pytest.approx(0.6)  # 24 s of work in 10 s, 18 of them ours
    assert Clock(110.0, 5017.9, 88.0).other_cores_since(before) == 0.0  # the kernel's ticks are coarse


def test_idle_and_waiting_cores_are_not_busy(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    #             user nice system     idle iowait  irq softirq steal guest
    columns = [1 * ticks, 2, 4 * ticks, 999999, 888888, 0, 0, 16 * ticks, 0, 0]
    (tmp_path / "stat").write_text(f"cpu  {' '.join(map(str, columns))}\ncpu0 1 2 3\n")
    clock = read_clock(tmp_path / "stat")
    assert clock is not None
    assert clock.busy == pytest.approx(21 + 2 / ticks)
    assert read_clock(tmp_path / "missing") is None
