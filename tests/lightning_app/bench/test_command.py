"""make bench: every part is measured, and what is printed is what was measured."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_app.bench.command import Schedule, bench
from lightning_app.bench.parts import NAMES, Part, Shape, choose_parts
from lightning_app.bench.ratios import RATIOS, ratios, table
from lightning_app.errors import UsageError
from lightning_app.trainer.machine import Machine

SHAPE = Shape(steps=9, original_steps=3, batch_size=64, image_size=224)
FP32, BF16 = (Part("program", "cpu", precision) for precision in ("32-true", "bf16-mixed"))
ORIGINAL, SERVING = Part("original", "cpu"), Part("serving", "cpu")
ROUNDS = [
    {"": {"batches": 3.0, "original": 2.0}, "32-true": {"program": 8.0, "fixed_batch": 10.0}},
    {"": {"batches": 1.0}, "32-true": {"program": 9.0, "fixed_batch": 10.0}},
    {"": {"batches": 2.0}, "32-true": {"program": 30.0, "fixed_batch": 20.0}},
]


def test_a_ratio_is_taken_round_by_round_and_only_of_what_was_measured() -> None:
    assert ratios(ROUNDS) == {
        "the whole program / our model on one fixed batch, 32-true": {"median": 0.9, "min": 0.8, "max": 1.5},
        "serving / plain eager fp32, batches": {"median": 2.0, "min": 1.0, "max": 3.0},
    }


def test_each_precision_is_compared_with_the_same_original_loop() -> None:
    contestants = {"bf16-mixed": {"program_original_augment": 40.0}, "32-true": {"program_original_augment": 10.0}}
    found = ratios([{"": {"original": 5.0}} | contestants, contestants])  # the second round had no time for it
    assert {name: each["median"] for name, each in found.items()} == {
        "the program / the original loop, 32-true": 2.0,
        "the program / the original loop, bf16-mixed": 8.0,
    }


def test_the_table_has_median_and_range_of_each() -> None:
    assert table(ratios(ROUNDS)).splitlines()[2].split()[-4:] == ["32-true", "0.900", "0.800", "1.500"]


CPU = Machine(cores=2, cpu_bf16=True)
GPU = Machine(cores=8, cpu_bf16=False, gpus=("H100",), gpu_bf16=True)
GPUS = Machine(cores=8, cpu_bf16=False, gpus=("V100", "V100"), gpu_bf16=False)


@pytest.mark.parametrize(
    ("machine", "device", "labels"),
    [
        (CPU, "auto", ["program (bf16-mixed)", "program (32-true)", "ranks"]),
        (Machine(cores=2, cpu_bf16=False), "auto", ["program (32-true)", "ranks"]),
        (GPU, "auto", ["program (bf16-mixed)", "program (32-true)"]),
        (GPU, "cpu", ["program (32-true)"]),
        (GPUS, "gpu", ["program (16-mixed)", "program (32-true)", "ranks"]),
    ],
)
def test_both_precisions_are_measured_where_bf16_is_fast_and_ranks_share_no_gpu(
    machine: Machine, device: str, labels: list[str]
) -> None:
    parts = choose_parts(["program", "ranks"], device, "auto", machine)
    assert [part.label for part in parts] == labels
    assert {part.device for part in parts} == {"gpu" if machine.gpus and device != "cpu" else "cpu"}


@pytest.mark.parametrize(
    ("machine", "labels"),
    [
        (CPU, ["original", "program (bf16-mixed)", "program (32-true)", "ranks", "serving"]),
        (GPU, ["original", "program (bf16-mixed)", "program (32-true)", "compiled (bf16-mixed)", "serving"]),
    ],
    ids=["cpu", "gpu"],
)
def test_torch_compile_is_measured_on_a_gpu_and_on_a_cpu_only_where_it_is_asked_for(
    machine: Machine, labels: list[str]
) -> None:
    assert [part.label for part in choose_parts(None, "auto", "auto", machine)] == labels
    assert [part.label for part in choose_parts(["compiled"], "cpu", "32-true", CPU)] == ["compiled (32-true)"]


def test_a_mode_that_torch_compile_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="--compile_mode is quick; expected one of default, "):
        bench(["--compile_mode", "quick"])


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="PyTorch finds no GPU"):
        choose_parts(["program"], "gpu", "auto", CPU)
    with pytest.raises(UsageError, match="nothing is left"):
        choose_parts(["ranks"], "auto", "auto", GPU)


class Machinery:
    """A clock and programs of known duration: the program takes 20 s to start, and 30 s for each of its steps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.given: list[tuple[str, float]] = []

    def clock(self) -> float:
        return self.now

    def run(self, command: list[str], timeout: float) -> dict[str, Any] | None:
        steps, own = int(command[2]), float(command[command.index("--seconds") + 1])
        taken = max(3, min(steps, int(own // 30)))
        needed = 20.0 + 30 * taken
        self.given.append((command[0].split(".")[-1], round(own)))
        self.now += min(needed, timeout)
        original = {"images_per_second": 2.0, "steps": [1.0]}
        found = original if command[0].endswith("original_loop") else {"program": 1.0, "fixed batch": 4.0}
        return found | {"counted_steps": taken} if needed <= timeout else None


def test_each_part_gets_its_share_of_what_is_left_and_what_was_left_out_is_said() -> None:
    fake = Machinery()
    measured = Schedule([ORIGINAL, FP32], SHAPE, rounds=2, seconds=600.0, clock=fake.clock, run=fake.run).measure()
    # 600 s in ten shares: 1 for the original, then 4 of 9 of the 490 that are left, and so on.
    # The original needs 110 s, the program 20 + 30 * 7 = 230: 260 s are left for the second round, of which it gets a
    # fifth; of the 150 after it, all: 20 + 30 * 5 > 150, and the program is ended.
    assert fake.given == [("original_loop", 60), ("step_timing", 218), ("original_loop", 52), ("step_timing", 150)]
    assert measured.left_out == [
        "round 2, program (32-true): left out, because the 10 minutes of --minutes were over.",
        "program (32-true): 7 steps per round instead of 9, to end within 10 minutes.",
    ]
    assert [sorted(each) for each in measured.rounds] == [["", "32-true"], [""]]
    assert measured.rounds[1] == {"": {"original": 2.0}}
    assert measured.original_rates == [2.0, 2.0]
    assert fake.now == 600.0


def test_where_there_is_time_all_steps_are_taken_and_only_the_figures_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = Machinery()
    measured = Schedule([ORIGINAL, FP32], SHAPE, rounds=2, seconds=6000.0, clock=fake.clock, run=fake.run).measure()
    assert (len(measured.rounds), measured.left_out) == (2, [])
    assert capsys.readouterr().out.splitlines()[-1] == "round 2/2, program (32-true): program 1.0, fixed batch 4.0"


def test_no_time_for_anything_is_an_error() -> None:
    fake = Machinery()
    with pytest.raises(UsageError, match="increase --minutes"):
        Schedule([ORIGINAL], SHAPE, rounds=1, seconds=60.0, clock=fake.clock, run=fake.run).measure()


@pytest.mark.parametrize("program", [["startup", "mpirun"], ["contestants.serving"]], ids=" ".join)
def test_a_program_of_the_bench_that_fails_is_one_error(
    program: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no such thing")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    monkeypatch.setattr(sys, "argv", program)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module(f"lightning_app.bench.{program[0]}", run_name="__main__")
    assert "failed with exit code 1: no such thing" in capsys.readouterr().err


SMALL = ["--rounds", "1", "--steps", "3", "--original_steps", "1", "--batch_size", "4", "--image_size", "32"]


@pytest.mark.slow
def test_the_programs_part_gives_its_ratios_as_json_and_as_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench([*SMALL, "--parts", "program", "--precision", "32-true", "--json", str(tmp_path / "bench.json")])
    content = json.loads((tmp_path / "bench.json").read_text())
    assert list(content["rounds"][0]["32-true"]) == [
        *("program", "program_original_augment", "bare_loop", "fixed_batch", "plain")
    ]
    measured = {
        f"{name}, 32-true" for name, pair in RATIOS.items() if set(pair) <= content["rounds"][0]["32-true"].keys()
    }
    assert content["ratios"].keys() == measured
    said = capfd.readouterr().out
    assert [name for name, each in content["ratios"].items() if f"{name:<64}{each['median']:8.3f}" not in said] == []


@pytest.mark.soak
def test_all_parts_together_give_every_ratio(tmp_path: Path) -> None:
    bench([*SMALL, "--parts", *NAMES, "--compile_mode", "eager", "--json", str(tmp_path / "bench.json")])
    found = json.loads((tmp_path / "bench.json").read_text())["ratios"]
    assert {name.removesuffix(", 32-true").removesuffix(", bf16-mixed") for name in found} == RATIOS.keys()
