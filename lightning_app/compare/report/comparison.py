"""A comparison, ready to be reported: the modes, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_app.compare.analysis.mode_runs import ModeRuns, modes_of
from lightning_app.compare.analysis.significance import Verdict
from lightning_app.compare.analysis.whole_runs import common_target

SEVERAL = 2


@dataclass(frozen=True)
class Comparison:
    """What all parts of a report use.

    Attributes:
        content: of results.json.
        modes: with their runs.
        target: the validation accuracy for time to accuracy.
        target_given: by the user.
        original_table: show the original study's table first.
    """

    content: dict[str, Any]
    modes: Sequence[ModeRuns]
    target: float | None
    target_given: bool = False
    original_table: bool = False

    @classmethod
    def of(cls, content: dict[str, Any], target: float | None = None, original_table: bool = False) -> Comparison:
        modes = modes_of(content)
        return cls(content, modes, target or common_target(modes), target is not None, original_table)

    @property
    def several_machines(self) -> bool:
        return len(self.content["machines"]) >= SEVERAL

    def name(self, runs: ModeRuns) -> str:
        """Includes the machine if there are several."""
        return f"{runs.mode.name} @ {runs.machine}" if self.several_machines else runs.mode.name

    @property
    def title(self) -> str:
        options = self.content["options"]
        return f"{options['model.backbone']} on {options['data.dataset']} at {self._sides}: what each mode buys"

    @property
    def _sides(self) -> str:
        """Whole runs may have one per epoch; counted steps have the first of them."""
        first, sides = self.content["image_size"], self.content["options"].get("data.image_size")
        if not isinstance(sides, list) or set(sides) == {first} or not self.whole:
            return f"{first}"
        return f"{first} (whole runs: {', '.join(str(side) for side in sides)})"

    @property
    def whole(self) -> list[ModeRuns]:
        """The modes with whole runs."""
        return [runs for runs in self.modes if runs.whole]

    @property
    def tested(self) -> list[ModeRuns]:
        """The modes with a test accuracy."""
        return [runs for runs in self.modes if runs.accuracies]

    def verdict(self, runs: ModeRuns) -> Verdict | None:
        """On a mode's accuracy against the first's; None for the first itself, and for modes that were not tested."""
        if runs not in self.tested[1:]:
            return None
        return Verdict(self.tested[0].accuracies, runs.accuracies, comparisons=len(self.tested) - 1)

    @property
    def made_again(self) -> list[tuple[ModeRuns, int, int]]:
        """(mode, round or seed, failed attempts) of runs that failed before they succeeded."""
        found = []
        for runs in self.modes:
            for number, run in [*runs.steps.items(), *runs.whole.items()]:
                if run.get("earlier_failures"):
                    found.append((runs, number, len(run["earlier_failures"])))
        return found
