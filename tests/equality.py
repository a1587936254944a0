"""Whether two runs are the same, to the last bit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lightning_app.checkpointing.checkpoint_io import read_checkpoint, step_files

# Wall-clock measurements, and the folder's name, differ from run to run.
TIMED = ("train/images_per_second",)
TIMED_STATE = ("callbacks.Throughput.rates", "callbacks.StepBoundary.longest")


def last_checkpoint(run: Path) -> dict[str, Any]:
    """The newest checkpoint of a run's folder."""
    return read_checkpoint(next(iter(step_files(run / "checkpoints").values())))


def differences(first: Any, second: Any, name: str = "") -> Iterator[str]:
    """Where two nested states are not equal, bit by bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            if (inner := f"{name}.{key}".lstrip(".")) not in TIMED_STATE:
                yield from differences(first.get(key), second.get(key), inner)
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{name}.{index}")
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if not torch.equal(first, second):
            yield name
    elif first != second:
        yield f"{name}: {first} and {second}"


def different_states(first: Path, second: Path) -> list[str]:
    """Where the last checkpoints of two runs differ: weights, average, optimizer, schedule, counters."""
    return list(differences(last_checkpoint(first), last_checkpoint(second)))


def curves(run: Path) -> list[dict[str, str]]:
    """The content of metrics.csv; for time measurements, only where they are."""
    return [logged(row) for row in csv.DictReader((run / "metrics.csv").read_text().splitlines())]


def logged(row: dict[str, str]) -> dict[str, str]:
    """The columns of a row that have a value."""
    return {name: "measured" if name in TIMED else value for name, value in row.items() if value}


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows; for time measurements, only at which steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    found = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    return {tag: [(each.step, 0.0 if tag in TIMED else each.value) for each in points] for tag, points in found.items()}
