"""bench: the program, its model on one fixed batch, torchvision's model as it is, and the original loop, in turn.

The original loop runs in a process of its own, without our memory policy, as it did. The other three alternate
within one process, a few steps each, so that a noisy machine slows them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from lightning_app.errors import UsageError

RATIOS = (("program", "original"), ("program", "fixed_batch"), ("fixed_batch", "plain"))


def bench(args: list[str]) -> None:
    """Measure rounds and print the ratios with their spread."""
    options = parse(args)
    rounds = []
    for number in range(1, options.rounds + 1):
        original = measure("original_loop", ["--steps", str(options.original_steps), *shared(options)])
        program = measure("program", ["--steps", str(options.steps), *shared(options)])
        rounds.append({"original": original["images_per_second"], **program})
        print(f"round {number}/{options.rounds}: {line(rounds[-1])}", flush=True)
    print(table(rounds))
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options) | {"json": None}, "rounds": rounds}, indent=1))


def parse(args: list[str]) -> argparse.Namespace:
    """The options of bench."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app bench", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured (default: 3)")
    parser.add_argument("--steps", type=int, default=12, help="counted steps of the program a round (default: 12)")
    parser.add_argument("--original_steps", type=int, default=3, help="counted steps of the original loop (default: 3)")
    parser.add_argument("--batch_size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--image_size", type=int, default=224, help="side in pixels (default: 224)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(args)


def shared(options: argparse.Namespace) -> list[str]:
    """Options that all measured programs get."""
    return ["--batch_size", str(options.batch_size), "--image_size", str(options.image_size)]


def measure(module: str, args: list[str]) -> dict[str, float]:
    """Run one measured program; its last line is JSON."""
    command = [sys.executable, "-m", f"lightning_app.bench.{module}", *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UsageError(f"{' '.join(command)} failed with exit code {done.returncode}; its own message is above.")
    return json.loads(done.stdout.splitlines()[-1])


def line(figures: dict[str, float]) -> str:
    """One round in words."""
    return ", ".join(f"{name} {value:.1f} images/s" for name, value in figures.items())


def table(rounds: list[dict[str, float]]) -> str:
    """Medians, and the ratios round by round."""
    rows = ["", f"{'images/s':<34}{'median':>8}{'min':>8}{'max':>8}"]
    for name in ("original", "plain", "fixed_batch", "program"):
        rows.append(spread_row(name, [figures[name] for figures in rounds]))
    rows += ["", f"{'ratio, round by round':<34}{'median':>8}{'min':>8}{'max':>8}"]
    for above, below in RATIOS:
        rows.append(spread_row(f"{above} / {below}", [figures[above] / figures[below] for figures in rounds], digits=3))
    return "\n".join(rows)


def spread_row(name: str, values: list[float], digits: int = 1) -> str:
    """One row of the table."""
    return f"{name:<34}" + "".join(
        f"{value:8.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
