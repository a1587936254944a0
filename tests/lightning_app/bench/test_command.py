"""make bench: every part is measured, and what is printed is what was measured."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_app.bench.command import RATIOS, bench, possible, ratios, table

ROUNDS = [
    {"program": 8.0, "fixed_batch": 10.0, "batches": 3.0},
    {"program": 9.0, "fixed_batch": 10.0, "batches": 1.0},
    {"program": 30.0, "fixed_batch": 20.0, "batches": 2.0},
]


def test_a_ratio_is_taken_round_by_round_and_only_of_what_was_measured() -> None:
    assert ratios(ROUNDS) == {
        "the whole program / our model on one fixed batch": {"median": 0.9, "min": 0.8, "max": 1.5},
        "serving / plain eager fp32, batches": {"median": 2.0, "min": 1.0, "max": 3.0},
    }


def test_the_table_has_median_and_range_of_each() -> None:
    assert table(ratios(ROUNDS)).splitlines()[2].split() == (
        ["the", "whole", "program", "/", "our", "model", "on", "one", "fixed", "batch", "0.900", "0.800", "1.500"]
    )


@pytest.mark.parametrize(("gpus", "left"), [(0, ["program", "ranks"]), (1, ["program"]), (2, ["program", "ranks"])])
def test_two_ranks_are_not_measured_on_one_gpu(gpus: int, left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert possible(["program", "ranks"]) == left


@pytest.mark.parametrize("program", [["startup", "mpirun"], ["serving"]], ids=" ".join)
def test_a_program_of_the_bench_that_fails_is_one_error(
    program: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no such thing")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    monkeypatch.setattr(sys, "argv", program)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module(f"lightning_app.bench.{program[0]}", run_name="__main__")
    assert "failed with exit code 1: no such thing" in capsys.readouterr().err


def measured(parts: list[str], json_file: Path) -> dict[str, dict[str, float]]:
    """The ratios of one small round."""
    small = ["--rounds", "1", "--steps", "3", "--original_steps", "1", "--batch_size", "4", "--image_size", "32"]
    bench([*small, *parts, "--json", str(json_file)])
    return json.loads(json_file.read_text())["ratios"]


def test_the_programs_part_gives_its_ratios_as_json_and_as_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = measured(["--parts", "program"], tmp_path / "bench.json")
    contestants = {"program", "program_original_augment", "bare_loop", "fixed_batch", "plain"}
    assert found.keys() == {name for name, pair in RATIOS.items() if set(pair) <= contestants}
    said = capfd.readouterr().out
    assert [name for name, spread in found.items() if f"{name:<58}{spread['median']:8.3f}" not in said] == []


@pytest.mark.soak
def test_all_parts_together_give_every_ratio(tmp_path: Path) -> None:
    assert measured([], tmp_path / "bench.json").keys() == RATIOS.keys()
