"""Which validation was the best so far, and which file has its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from lightning_app.errors import UsageError

Mode = Literal["max", "min"]
LOWER_IS_BETTER = ("val/loss", "val/ece")


class BestChoice:
    """Compares validations by one metric.

    Args:
        monitor: name of a metric logged by validation.
        mode: whether the highest or the lowest value is the best.

    Attributes:
        score: the best value so far; None before a validation.
        file: name of the checkpoint with those weights, in the run's checkpoint folder; None before a validation.
    """

    def __init__(self, monitor: str = "val/acc", mode: Mode = "max") -> None:
        self.monitor, self.mode = monitor, mode
        self.score: float | None = None
        self.file: str | None = None

    def offer(self, metrics: Mapping[str, Any], file: str) -> bool:
        """Compare a validation: is it the best so far?

        Of equal validations, the last one wins: a small split cannot distinguish them, and the learning rate has
        dropped since. NaN or infinity is never the best.

        Args:
            metrics: logged values by name; without validation metrics if there was no validation.
            file: where its weights will be saved.

        Raises:
            UsageError: it was logged without the monitored metric.
        """
        score = self._score(metrics)
        if score is None or not math.isfinite(score):
            return False
        if self.score is not None and not self._at_least_as_good(score, self.score):
            return False
        self.score, self.file = score, file
        return True

    def _score(self, metrics: Mapping[str, Any]) -> float | None:
        if self.monitor in metrics:
            return float(metrics[self.monitor])
        if any(name.startswith("val/") for name in metrics):
            raise UsageError(
                f"checkpoint.monitor is {self.monitor}, which was not logged; expected one of "
                f"{', '.join(sorted(metrics))}."
            )
        return None

    def _at_least_as_good(self, score: float, other: float) -> bool:
        return score >= other if self.mode == "max" else score <= other

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best_score": self.score, "best_file": self.file}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.score, self.file = state["best_score"], state["best_file"]
