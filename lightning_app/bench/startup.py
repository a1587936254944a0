"""The time from a command to its first training step, alone and under a launcher.

Both fit the quickstart for one step, alternating; the clock stops when rank 0 has taken it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_app.errors import UsageError

ROUNDS = 3
SAID = "first step taken "
FIT = ["-m", "lightning_app", "fit", "--config", "configs/quickstart.yaml"]
SHORT = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]
CALLBACK = "--trainer.callbacks+=lightning_app.bench.startup.FirstStep"
# Where the time goes; each phase ends at a moment that FirstStep records.
PHASES = ("start Python, import", "build model and data, rendezvous", "set up training", "first step")


class FirstStep(pl.Callback):
    """Prints the ends of PHASES, as time.time(), after the first step."""

    def __init__(self) -> None:
        self.ends = [time.time()]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.ends.append(time.time())

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.ends.append(time.time())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            print(SAID, json.dumps([*self.ends, time.time()]), flush=True)


def main(launcher: list[str], plot: Path | None) -> None:
    """Print medians, ranges and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        seconds([], folder)  # packs the digits, and warms the file cache
        rounds = [(seconds([], folder), seconds(launcher, folder)) for _ in range(ROUNDS)]
    alone, launched = ([each[index] for each in rounds] for index in (0, 1))
    for number, phase in enumerate(PHASES):
        print(f"{phase}: {spread([each[number] for each in alone])} s, {spread([each[number] for each in launched])} s")
    print(f"one process: {spread([sum(each) for each in alone])} s")
    print(f"{' '.join(launcher)}: {spread([sum(each) for each in launched])} s")
    print(f"ratio: {spread([sum(ours) / sum(own) for own, ours in rounds])}")
    if plot:
        draw({"one process": alone, " ".join(launcher): launched}, plot)


def seconds(launcher: list[str], folder: str) -> list[float]:
    """From the start of a command to its first step, by phase."""
    command = [*launcher, sys.executable, *FIT, *SHORT, CALLBACK, f"--runs_dir={folder}", f"--data.cache_dir={folder}"]
    started = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    ends = [line.removeprefix(SAID) for line in done.stdout.splitlines() if line.startswith(SAID)]
    if not ends or done.returncode:
        raise UsageError(f"{' '.join(command)} failed with exit code {done.returncode}: {done.stderr}")
    return [end - begin for begin, end in pairwise([started, *json.loads(ends[0])])]


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def draw(found: dict[str, list[list[float]]], path: Path) -> None:
    """A bar per command with its phases' medians, and the range of the total."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.2), layout="constrained")
    axes = figure.subplots()
    for name, times in found.items():
        begin = 0.0
        for number, phase in enumerate(PHASES):
            width = statistics.median(each[number] for each in times)
            shade = str(0.3 + 0.2 * number)
            axes.barh(name, width, left=begin, color=shade, label=phase if name == next(iter(found)) else None)
            begin += width
        totals = [sum(each) for each in times]
        axes.plot([min(totals), max(totals)], [name, name], color="black", marker="|")
    axes.set_xlabel("seconds from the command to the end of the first step")
    axes.legend(ncols=2, fontsize="small", loc="lower center", bbox_to_anchor=(0.45, 1))
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lightning_app.bench.startup", description=__doc__)
    parser.add_argument("--plot", type=Path, help="also draw the result to this .png")
    parser.add_argument("launcher", nargs=argparse.REMAINDER, help="for example mpirun -np 2")
    options = parser.parse_args()
    if not options.launcher:
        parser.error("a launcher is needed, for example mpirun -np 2")
    try:
        main(options.launcher, options.plot)
    except UsageError as error:
        parser.error(str(error))
