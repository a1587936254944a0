"""Whole runs: where their wall time went, and when they reached an accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lightning_app.compare.analysis.mode_runs import ModeRuns, Run

WALL_TIME_PARTS = ("import", "set-up", "first step", "training", "validation", "checkpoints", "test", "rest")


def wall_time_parts(run: Run) -> dict[str, float]:
    """Seconds for each of WALL_TIME_PARTS, measured on the first rank; they add up to the run's wall time."""
    rank, began = run["ranks"][0], run["began"]
    not_training = rank["validation_s"] + rank["checkpoint_s"]
    found = {
        "import": rank["imported"] - began,
        "set-up": rank["training_began"] - rank["imported"],
        "first step": rank["first_step_ended"] - rank["training_began"],
        "training": rank["training_ended"] - rank["first_step_ended"] - not_training,
        "validation": rank["validation_s"],
        "checkpoints": rank["checkpoint_s"],
        "test": rank["test_s"],
    }
    return found | {"rest": run["seconds"] - sum(found.values())}


def median_parts(runs: ModeRuns) -> dict[str, float]:
    """The median over the seeds for each part; empty without whole runs."""
    found = [wall_time_parts(run) for run in runs.whole.values()]
    return {name: statistics.median(each[name] for each in found) for name in WALL_TIME_PARTS} if found else {}


def validation_curve(run: Run) -> list[tuple[float, float]]:
    """(seconds since the start of the command, validation accuracy), one per validation."""
    return [(point["time"] - run["began"], point["accuracy"]) for point in run["ranks"][0]["validations"]]


def time_to_accuracy(run: Run, target: float) -> float | None:
    """Seconds from the start of the command to the first validation at or above `target`."""
    return next((seconds for seconds, accuracy in validation_curve(run) if accuracy >= target), None)


def times_to_accuracy(runs: ModeRuns, target: float) -> list[float | None]:
    """By seed."""
    return [time_to_accuracy(run, target) for run in runs.whole.values()]


def common_target(modes: Sequence[ModeRuns]) -> float | None:
    """The highest validation accuracy that every whole run reached: the target unless the user names one."""
    best = [max((a for _, a in validation_curve(run)), default=0.0) for runs in modes for run in runs.whole.values()]
    return min(best) if best and min(best) > 0 else None
