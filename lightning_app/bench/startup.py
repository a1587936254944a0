"""How long it is from a command to its first training step, alone and under a launcher.

    python -m lightning_app.bench.startup mpirun -np 2

Both fit the quickstart in turn, for one step; it counts when rank 0 has taken it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import lightning.pytorch as pl

from lightning_app.errors import UsageError

ROUNDS = 3
SAID = "first step taken"
FIT = ["-m", "lightning_app", "fit", "--config", "configs/quickstart.yaml"]
SHORT = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]
CALLBACK = "--trainer.callbacks+=lightning_app.bench.startup.FirstStep"


class FirstStep(pl.Callback):
    """Says so when a step has been taken."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            print(SAID, flush=True)


def main(launcher: list[str]) -> None:
    """Print medians, ranges and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        seconds([], folder)  # packs the digits, and warms the cache of files
        rounds = [(seconds([], folder), seconds(launcher, folder)) for _ in range(ROUNDS)]
    print(f"one process: {spread([alone for alone, _ in rounds])} s")
    print(f"{' '.join(launcher)}: {spread([launched for _, launched in rounds])} s")
    print(f"ratio: {spread([launched / alone for alone, launched in rounds])}")


def seconds(launcher: list[str], folder: str) -> float:
    """From the start of a command to its first step."""
    command = [*launcher, sys.executable, *FIT, *SHORT, CALLBACK, f"--runs_dir={folder}", f"--data.cache_dir={folder}"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        taken = next((time.perf_counter() - started for line in program.stdout if SAID in line), None)
        said = program.communicate()[1]
    if taken is None or program.returncode:
        raise UsageError(f"{' '.join(command)} failed with exit code {program.returncode}: {said}")
    return taken


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main(sys.argv[1:])
