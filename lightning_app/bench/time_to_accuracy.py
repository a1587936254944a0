"""Seconds until a test accuracy: for a recorded run of ours, and for the original loop at the speed measured here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lightning_app.errors import UsageError

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

VALIDATION, TEST = "val/acc", "test/acc"


@dataclass(frozen=True)
class RecordedRun:
    """What a run's TensorBoard log contains.

    Attributes:
        points: (step, seconds since the first log, accuracy) of validations and tests, in order of time.
        accuracy: of the final test.
        seconds: from the first log to the final test.
        batch_size: global.
    """

    points: Sequence[tuple[int, float, float]]
    accuracy: float
    seconds: float
    batch_size: int

    def images_to(self, accuracy: float) -> int | None:
        """Images trained on until a validation or test first reaches this accuracy; None if none does."""
        return next((step * self.batch_size for step, _, found in self.points if found >= accuracy), None)


def open_log(folder: Path) -> tuple[EventAccumulator, list[str]]:
    """A run's TensorBoard log, and the names of its scalars; there are none if there is no such run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder))
    return log, log.Reload().Tags()["scalars"] if folder.is_dir() else []


def read_run(folder: Path) -> RecordedRun:
    """From runs/<name>/<version>.

    Raises:
        UsageError: it is not a run with a test.
    """
    log, known = open_log(folder)
    if TEST not in known or not (folder / "config.yaml").is_file():
        raise UsageError(
            f"{folder} has no config.yaml and TensorBoard log with {TEST}; expected runs/<name>/<version>."
        )
    begin = min([log.FirstEventTimestamp(), *(log.Scalars(name)[0].wall_time for name in known)])
    splits = [log.Scalars(name) for name in (VALIDATION, TEST) if name in known]
    points = sorted((each.wall_time - begin, each.step, each.value) for split in splits for each in split)
    test = log.Scalars(TEST)[0]
    batch_size = yaml.safe_load((folder / "config.yaml").read_text())["data"]["batch_size"]
    by_step = [(step, seconds, accuracy) for seconds, step, accuracy in points]
    return RecordedRun(by_step, test.value, test.wall_time - begin, batch_size)


def time_to_accuracy(original: Path, ours: Path, original_rates: Sequence[float]) -> str:
    """One sentence: how much sooner our run reached its test accuracy than the original loop would."""
    run = read_run(ours)
    return sentence(run, read_run(original).images_to(run.accuracy), statistics.median(original_rates))


def sentence(run: RecordedRun, images: int | None, rate: float) -> str:
    """`images` is the number that the original recipe needs, `rate` the original loop's images/s."""
    ours = f"{100 * run.accuracy:.2f}% test accuracy: ours after {run.seconds:,.0f} s"
    if images is None:
        return f"{ours}; the original recipe never reached it in its recorded run."
    seconds = images / rate
    return (
        f"{ours}, the original loop after {seconds:,.0f} s ({images:,} images at {rate:.1f} images/s): "
        f"{seconds / run.seconds:.1f} times as fast."
    )
