"""bench: the speed of the program's parts, each beside what it is compared to, in turn.

Step, data path and loop alternate within one process, a few steps each, so that a noisy machine slows them alike; so do
ranks and independent processes, and the paths of serving. The original loop runs in a process of its own, without our
memory policy, as it did.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_app.errors import UsageError
from lightning_app.files import output, try_file

# What is divided by what, and what it tells.
RATIOS = {
    "the program / the original loop": ("program_original_augment", "original"),
    "the step: our model / torchvision's, bf16, channels_last": ("fixed_batch", "plain"),
    "the whole program / our model on one fixed batch": ("program", "fixed_batch"),
    "the same with the original's augmentation": ("program_original_augment", "fixed_batch"),
    "Lightning's loop / a bare loop": ("program", "bare_loop"),
    "2 ranks of one run / 2 independent ones": ("ddp", "independent"),
    "serving / plain eager fp32, one picture": ("one picture", None),
    "serving / plain eager fp32, batches": ("batches", None),
}
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def bench(args: list[str]) -> None:
    """Measure rounds and print the ratios with their spread."""
    options = parse(args)
    if options.json:
        with output("--json", options.json):
            try_file(options.json)
    options.parts = possible(options.parts)
    rounds = []
    for number in range(1, options.rounds + 1):
        rounds.append(measure_round(options))
        print(f"round {number}/{options.rounds}: {line(rounds[-1])}", flush=True)
    found = ratios(rounds)
    print(table(found))
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        content = {"options": vars(options) | {"json": None}, **machine, "rounds": rounds, "ratios": found}
        with output("--json", options.json):
            options.json.write_text(json.dumps(content, indent=1))


def parse(args: list[str]) -> argparse.Namespace:
    """The options of bench.

    Raises:
        UsageError: a number is less than 1.
    """
    parser = argparse.ArgumentParser(prog="python -m lightning_app bench", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured (default: 3)")
    parser.add_argument("--steps", type=int, default=9, help="counted steps of each contestant a round (default: 9)")
    parser.add_argument("--original_steps", type=int, default=3, help="counted steps of the original loop (default: 3)")
    parser.add_argument("--batch_size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--image_size", type=int, default=224, help="side in pixels (default: 224)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: all)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(args)
    for name, value in vars(options).items():
        if isinstance(value, int) and value < 1:
            raise UsageError(f"--{name} is {value}; expected 1 or more. Give it so, or leave it out.")
    return options


def possible(parts: Sequence[str]) -> list[str]:
    """Those that this machine can measure: two ranks share no GPU.

    Raises:
        UsageError: there are none.
    """
    import torch

    if "ranks" not in parts or torch.cuda.device_count() != 1:
        return list(parts)
    rest = [part for part in parts if part != "ranks"]
    if not rest:
        raise UsageError("--parts ranks needs two GPUs, or none, and there is one.")
    print("ranks: left out, as two of them would share the one GPU", flush=True)
    return rest


def measure_round(options: argparse.Namespace) -> dict[str, float]:
    """Each part once: images/s by contestant, of serving the ratio itself."""
    shape = ["--batch_size", str(options.batch_size), "--image_size", str(options.image_size)]
    commands = {
        "original": ["lightning_app.bench.original_loop", "--steps", str(options.original_steps), *shape],
        "program": ["lightning_app.bench.step_timing", "--steps", str(options.steps), *shape],
        "ranks": [*TORCHRUN, "lightning_app.bench.rank_scaling", *shape],
        "serving": ["lightning_app.bench.serving"],
    }
    found: dict[str, float] = {}
    for part in options.parts:
        measured = measure(commands[part])
        found |= {"original": measured["images_per_second"]} if part == "original" else measured
    return found


PARTS = ("original", "program", "ranks", "serving")


def measure(arguments: list[str]) -> dict[str, float]:
    """Run one measured module; its last line is JSON."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UsageError(f"{' '.join(command)} failed with exit code {done.returncode}; its own message is above.")
    return json.loads(done.stdout.splitlines()[-1])


def line(figures: dict[str, float]) -> str:
    """One round in words."""
    return ", ".join(f"{name} {value:.1f}" for name, value in figures.items())


def ratios(rounds: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Each ratio that was measured: its median, least and largest, round by round."""
    found = {}
    for name, (above, below) in RATIOS.items():
        if above in rounds[0] and (below is None or below in rounds[0]):
            values = [figures[above] / (figures[below] if below else 1) for figures in rounds]
            found[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """The ratios, for people."""
    rows = ["", f"{'times as fast':<58}{'median':>8}{'min':>8}{'max':>8}"]
    rows += [
        f"{name:<58}" + "".join(f"{spread[key]:8.3f}" for key in ("median", "min", "max"))
        for name, spread in found.items()
    ]
    return "\n".join(rows)
