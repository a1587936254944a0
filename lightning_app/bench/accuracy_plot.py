"""Accuracy over minutes: several recipes in one figure, from the TensorBoard logs of their runs.

    python -m lightning_app.bench.accuracy_plot docs/images/recipes.png "at 160=runs/cifar10/version_0" ...

The clock starts with a run's first log, some seconds after its command. Lines are validation, squares the final test.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from lightning_app.bench.time_to_accuracy import TEST, VALIDATION, open_log
from lightning_app.errors import UsageError

MINUTE = 60
STYLES = ("o-", "D--", "^:", "v-.")
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Recipe:
    """One run.

    Attributes:
        name: in the legend.
        curves: minutes and accuracy in percent, for VALIDATION and TEST.
    """

    name: str
    curves: dict[str, Curve]


def read_recipe(named: str) -> Recipe:
    """From NAME=FOLDER; a UsageError if there is no such run, or it has no validation."""
    name, _, folder = named.rpartition("=")
    log, known = open_log(Path(folder))
    if VALIDATION not in known:
        raise UsageError(f"{folder} has no TensorBoard log with {VALIDATION}; expected NAME=runs/<name>/<version>.")
    begin = log.FirstEventTimestamp()
    # With the test's results, those of the best validation are logged once more.
    end = log.Scalars(TEST)[0].wall_time if TEST in known else math.inf
    curves: dict[str, Curve] = {}
    for split in (each for each in (VALIDATION, TEST) if each in known):
        logged = [each for each in log.Scalars(split) if each.wall_time <= end]
        curves[split] = [((each.wall_time - begin) / MINUTE, 100 * each.value) for each in logged]
    return Recipe(name or Path(folder).parent.name, curves)


def draw(recipes: list[Recipe], path: Path) -> None:
    """Curves that differ in marker and dash, so that greyscale is enough."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for recipe, style in zip(recipes, STYLES, strict=False):
        [line] = axes.plot(*zip(*recipe.curves[VALIDATION], strict=True), style, markersize=4, label=recipe.name)
        for when, right in recipe.curves.get(TEST, []):
            axes.plot(when, right, "s", color=line.get_color(), markersize=8)
            axes.annotate(f"{right:.2f}", (when, right), xytext=(6, -3), textcoords="offset points", fontsize="small")
    axes.set(xlabel="minutes", ylabel="accuracy (%)")
    axes.set_xlim(0, 1.1 * max(when for recipe in recipes for curve in recipe.curves.values() for when, _ in curve))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app.bench.accuracy_plot", description=__doc__.split("\n")[0]
    )
    parser.add_argument("picture", type=Path, help="a .png")
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="runs/<name>/<version>; up to four")
    options = parser.parse_args()
    if len(options.runs) > len(STYLES):
        parser.error(f"{len(options.runs)} runs; the styles can distinguish at most {len(STYLES)}")
    try:
        draw([read_recipe(named) for named in options.runs], options.picture)
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
