"""bench: the speed of the program's parts, each alternating with its baseline.

Step, data path and loop alternate within one process, a few steps each, so that a noisy machine slows them alike; so do
ranks and independent processes, and the paths of serving. The original loop runs in a separate process, without our
memory policy, as it did. If bf16 is fast, the program's part is measured in bf16 and in fp32, each labelled.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from lightning_app.bench.child import run_module, signals_raise
from lightning_app.bench.parts import NAMES, Part, Shape, choose_parts
from lightning_app.bench.ratios import Figures, ratios, table
from lightning_app.bench.time_to_accuracy import time_to_accuracy
from lightning_app.errors import UsageError
from lightning_app.files import output, try_file
from lightning_app.provenance import cpu_name
from lightning_app.trainer.machine import this_machine

MINUTE = 60


def bench(args: list[str]) -> None:
    """Measure rounds and print the ratios with their spread."""
    options = parse(args)
    if options.json:
        with output("--json", options.json):
            try_file(options.json)
    parts = choose_parts(options.parts, options.device, options.precision, this_machine())
    shape = Shape(options.steps, options.original_steps, options.batch_size, options.image_size, options.compile_mode)
    with signals_raise():
        measured = Schedule(parts, shape, options.rounds, options.minutes * MINUTE).measure()
    found = ratios(measured.rounds)
    lines = [table(found), *measured.left_out]
    if options.runs:
        original, ours = options.runs
        lines.append(time_to_accuracy(original, ours, measured.original_rates))
    print("\n".join(lines), flush=True)
    if options.json:
        with output("--json", options.json):
            options.json.write_text(json.dumps(record(options, measured, found), indent=1))


def record(options: argparse.Namespace, measured: Measured, found: dict[str, Figures]) -> dict[str, Any]:
    """The content of --json."""
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cpu": cpu_name()}
    content: dict[str, Any] = {"options": {name: str(value) for name, value in vars(options).items()}, **machine}
    return content | {"rounds": measured.rounds, "left_out": measured.left_out, "ratios": found}


def parse(args: list[str]) -> argparse.Namespace:
    """The options of bench.

    Raises:
        UsageError: a number is less than 1.
    """
    parser = argparse.ArgumentParser(prog="python -m lightning_app bench", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=int, default=10, help="time limit, on any machine (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default: 3)")
    parser.add_argument(
        "--steps", type=int, default=9, help="maximum of counted steps per round and contestant (default: 9)"
    )
    parser.add_argument("--original_steps", type=int, default=3, help="the same for the original loop (default: 3)")
    parser.add_argument("--batch_size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--image_size", type=int, default=224, help="side in pixels (default: 224)")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="(default: a GPU if any)")
    parser.add_argument(
        "--precision", default="auto", help="bf16-mixed, 32-true, ...; by default both of these if bf16 is fast"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=NAMES, help="(default: all; on a CPU all but compiled, which takes minutes there)"
    )
    parser.add_argument(
        "--compile_mode",
        default="default",
        help="torch.compile's mode for the part compiled (default: default)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        nargs=2,
        metavar=("ORIGINAL", "OURS"),
        help="runs/<name>/<version> of the original recipe and of ours: also report seconds to our test accuracy, for "
        "the original loop from its images/s measured here",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(args)
    for name, value in vars(options).items():
        if isinstance(value, int) and value < 1:
            raise UsageError(f"--{name} is {value}; expected 1 or more. Change it, or leave it out.")
    check_compile_mode(options.compile_mode)
    if options.runs and options.parts and "original" not in options.parts:
        raise UsageError("--runs needs the images/s of the original loop: name original in --parts too.")
    return options


def check_compile_mode(mode: str) -> None:
    """Raise a UsageError if torch.compile has no such mode; imports torch, which --help does not need."""
    from models.compiled import CompileMode

    if mode not in get_args(CompileMode):
        raise UsageError(f"--compile_mode is {mode}; expected one of {', '.join(get_args(CompileMode))}.")


@dataclass
class Measured:
    """What was measured, and sentences about what was not.

    Attributes:
        rounds: images/s by contestant, by precision; "" has those of parts with a precision of their own.
    """

    rounds: list[dict[str, Figures]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def original_rates(self) -> list[float]:
        return [each[""]["original"] for each in self.rounds if "original" in each.get("", {})]


@dataclass(frozen=True)
class Schedule:
    """Rounds of parts within a time limit.

    Each part gets its share of the remaining time, and takes as many steps as its first ones suggest will fit; a part
    that is still running when all time is over is stopped.

    Attributes:
        seconds: for everything.
        clock, run: for tests.
    """

    parts: list[Part]
    shape: Shape
    rounds: int
    seconds: float
    clock: Callable[[], float] = time.monotonic
    run: Callable[[list[str], float], dict[str, Any] | None] = run_module

    def measure(self) -> Measured:
        """All rounds.

        Raises:
            UsageError: a part failed, or there was no time for any.
        """
        deadline, measured = self.clock() + self.seconds, Measured()
        fewest: dict[Part, int] = {}
        for number in range(self.rounds):
            figures: dict[str, Figures] = {}
            for index, part in enumerate(self.parts):
                found = self._measure_part(number, index, deadline - self.clock())
                if found is None:
                    measured.left_out.append(f"round {number + 1}, {part.label}: left out, {self._no_time}.")
                    continue
                fewest[part] = min(int(found.pop("counted_steps", 0)), fewest.get(part, 1 << 30))
                figures.setdefault(part.precision, {}).update(found)
                told = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
                print(f"round {number + 1}/{self.rounds}, {part.label}: {told}", flush=True)
            if figures:
                measured.rounds.append(figures)
        measured.left_out += [text for part, steps in fewest.items() if (text := self._fewer_steps(part, steps))]
        if not measured.rounds:
            raise UsageError(f"nothing could be measured in {self.seconds / MINUTE:g} minutes; increase --minutes.")
        return measured

    def _measure_part(self, number: int, index: int, left: float) -> Figures | None:
        """None if there is no time for it."""
        if left <= 0:
            return None
        rest, every = sum(part.share for part in self.parts[index:]), sum(part.share for part in self.parts)
        part = self.parts[index]
        own = left * part.share / (rest + (self.rounds - number - 1) * every)
        found = self.run(part.command(self.shape, own), left)
        return part.figures(found) if found else None

    @property
    def _no_time(self) -> str:
        return f"because the {self.seconds / MINUTE:g} minutes of --minutes were over"

    def _fewer_steps(self, part: Part, steps: int) -> str:
        most = part.most_steps(self.shape)
        if most is None or steps >= most:
            return ""
        return (
            f"{part.label}: {steps} steps per round instead of {most}, to end within {self.seconds / MINUTE:g} minutes."
        )
