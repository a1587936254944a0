"""Joules from the kernel's counters, or the reason why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_app.compare.measuring.energy import cpu_counter, gpu_counter


def write_package(folder: Path, name: str, energy: int) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{energy}\n")
    (folder / name / "max_energy_range_uj").write_text("262143000000\n")


def test_packages_add_up_their_parts_do_not_and_a_counter_may_begin_again(tmp_path: Path) -> None:
    write_package(tmp_path, "intel-rapl:0", 262_142_000_000)
    write_package(tmp_path, "intel-rapl:1", 5_000_000)
    write_package(tmp_path, "intel-rapl:0:0", 1_000_000)  # a part of package 0
    before = cpu_counter(tmp_path)
    write_package(tmp_path, "intel-rapl:0", 2_000_000)  # 1 J to the end of its range, and 2
    write_package(tmp_path, "intel-rapl:1", 9_500_000)
    write_package(tmp_path, "intel-rapl:0:0", 99_000_000)
    used = cpu_counter(tmp_path).since(before)
    assert used["reason"] == ""
    assert used["joules"] == pytest.approx(3.0 + 4.5)


def test_where_nothing_is_counted_there_is_a_reason(tmp_path: Path) -> None:
    nothing = cpu_counter(tmp_path)
    assert nothing.since(nothing) == {"joules": None, "reason": f"no RAPL counter under {tmp_path}"}
    assert gpu_counter(torch.device("cpu")).reason == "no GPU was used"


def test_a_counter_that_may_not_be_read_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    assert "energy_uj cannot be read: No such file or directory" in cpu_counter(tmp_path).reason
