"""Figures of whole runs: wall time and its parts, accuracy over time, cost over time."""

from __future__ import annotations

from lightning_app.compare.analysis.cost import HOUR, cost_of
from lightning_app.compare.analysis.whole_runs import WALL_TIME_PARTS, median_parts, validation_curve
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.figures.charts import Axis, Bar, Line, bar_chart, line_chart
from lightning_app.compare.report.figures.figure import Figure
from lightning_app.compare.report.formatting import duration

MINUTE = 60


def wall_time(comparison: Comparison) -> Figure | None:
    bars = []
    for runs in comparison.whole:
        if wall := runs.wall_time:
            ends = (wall.low / MINUTE, wall.high / MINUTE) if wall.low < wall.high else None
            bars.append(Bar(comparison.name(runs), [wall.median / MINUTE], duration(wall.median), ends))
    caption = "From the start of the command to its end; median and range over the seeds."
    return Figure("Time of a whole run", bar_chart(bars, "minutes"), caption) if bars else None


def wall_time_parts(comparison: Comparison) -> Figure | None:
    bars = [
        Bar(comparison.name(runs), [max(each, 0) for each in median_parts(runs).values()], duration(wall.median))
        for runs in comparison.whole
        if (wall := runs.wall_time)
    ]
    caption = "Medians over the seeds, measured on the first rank."
    title = "Where a run's time went"
    return Figure(title, bar_chart(bars, "seconds", WALL_TIME_PARTS), caption) if bars else None


def accuracy(comparison: Comparison) -> Figure | None:
    """Validation accuracy over wall time."""
    lines = []
    for index, runs in enumerate(comparison.whole):
        for place, run in enumerate(runs.whole.values()):
            points = [(when / MINUTE, 100 * share) for when, share in validation_curve(run)]
            if points:
                name = "" if place else comparison.name(runs)
                lines.append(Line(name, points, index, "thin" if place else "data"))
    if not lines:
        return None
    longest = max(when for line in lines for when, _ in line.points) * 1.05
    caption = "Every validation of the whole runs."
    caption += " Thin: further seeds." if any(line.kind == "thin" for line in lines) else ""
    if comparison.target:
        target = 100 * comparison.target
        lines.append(Line(f"target {target:.2f}%", [(0, target), (longest, target)], kind="reference"))
    axes = Axis("minutes since the start of the command", 0, longest), Axis("validation accuracy (%)")
    return Figure("Accuracy over time", line_chart(lines, *axes), caption)


def cost(comparison: Comparison) -> list[Figure]:
    """Device-hours over time with the modes as points: one figure per kind of billed device."""
    return [figure for kind in ("core", "GPU") if (figure := cost_by_time(comparison, kind))]


def cost_by_time(comparison: Comparison, kind: str) -> Figure | None:
    """For whole runs if there are any, else for a million images."""
    whole = bool(comparison.whole)
    points = []
    for runs in comparison.modes:
        cost = cost_of(runs, None)
        if cost and cost.devices.kind == kind and runs.mode.kind != "serial":
            seconds = cost.whole if whole else cost.per_million
            if seconds and (hours := cost.hours(seconds, kind)):
                points.append((comparison.name(runs), seconds / HOUR, hours, cost.devices.count))
    if not points:
        return None
    longest = max(time for _, time, _, _ in points) * 1.15
    lines = [Line(name, [(time, hours)], index, "points") for index, (name, time, hours, _) in enumerate(points)]
    most = max(hours for _, _, hours, _ in points) * 1.15
    for count in sorted({count for _, _, _, count in points}):
        end = min(longest, most / count)
        label = f"{count} {kind}{'s' if count > 1 else ''}"
        lines.append(Line("", [(0, 0), (end, end * count)], kind="reference", labels=["", label]))
    what = "whole run" if whole else "million images"
    axes = Axis(f"hours of a {what}", 0, longest), Axis(f"{kind}-hours", 0, most)
    caption = "Left is faster, low is cheaper; modes with equal numbers of devices lie on one line."
    return Figure(f"{kind}-hours over time of a {what}".capitalize(), line_chart(lines, *axes), caption)
