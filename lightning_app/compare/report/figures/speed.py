"""Figures of the counted steps: speed, efficiency over ranks, parts of a step, the link between ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.predicted_modes import Prediction, predictions
from lightning_app.compare.analysis.speedup import ceiling, ratio, single_process
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.figures.charts import Axis, Bar, Line, bar_chart, line_chart
from lightning_app.compare.report.figures.figure import Figure
from lightning_app.compare.report.formatting import number, share

STEP_PARTS = ("data path", "compute and the rest", "communication")
CEILING = 1  # style of the ceilings' points


def speed(comparison: Comparison) -> Figure | None:
    bars = []
    for runs in comparison.modes:
        if rates := runs.images_per_second:
            serial = runs.mode.kind == "serial"
            label = number(rates.median)
            bars.append(Bar(comparison.name(runs), [rates.median], label, (rates.low, rates.high), serial))
    if not bars:
        return None
    outlined = " Outlined: independent processes at once, the ceiling for ranks."
    caption = "Median and quartiles of the counted steps." + (outlined if any(bar.hollow for bar in bars) else "")
    return Figure("Training speed", bar_chart(bars, "images/s"), caption)


def efficiency(comparison: Comparison) -> Figure | None:
    """Speed-up over one process divided by the ranks; predictions are drawn separately."""
    strong = [runs for runs in comparison.modes if runs.mode.kind == "ddp" and not runs.mode.weak and runs.steps]
    lines: list[Line] = []
    places = dict.fromkeys((runs.machine, runs.mode.nodes) for runs in strong)
    several_nodes = len({nodes for _, nodes in places}) > 1
    for index, (machine, nodes) in enumerate(places):
        here = [runs for runs in strong if (runs.machine, runs.mode.nodes) == (machine, nodes)]
        where = f", {nodes} node{'s' if nodes > 1 else ''}" if several_nodes and nodes else ""
        where += f" @ {machine}" if comparison.several_machines else ""
        lines += efficiency_lines(here, comparison, where, index * 2)
    if not lines:
        return None
    most = max([4, *(ranks for line in lines for ranks, _ in line.points)])
    highest = max([1.0, *(value for line in lines for _, value in line.points)])
    lines.append(Line("linear", [(1, 1), (most, 1)], kind="reference"))
    ticks = [2**power for power in range(int(most).bit_length())]
    axes = Axis("ranks", 0.9, most * 1.12, True, ticks), Axis("speed-up / ranks", 0, highest * 1.1)
    caption = "Relative to one process with one rank's threads; labels give the speed-up at each measured point."
    if any(line.kind == "predicted" for line in lines):
        caption += " Hollow: predicted from the step and the link measured here, for ranks with their own cores."
    return Figure("Efficiency over ranks", line_chart(lines, *axes), caption)


def efficiency_lines(strong: Sequence[ModeRuns], comparison: Comparison, where: str, style: int) -> list[Line]:
    """For modes on one machine and equally many nodes: measured, their ceilings, and predictions."""
    times = {runs.mode.count: each for runs in strong if (each := over_single_process(runs, comparison.modes))}
    if not times:
        return []
    bounds = [
        (runs.mode.count, each / runs.mode.count)
        for runs in strong
        if (bound := ceiling(runs, comparison.modes)) and (each := over_single_process(bound, comparison.modes))
    ]
    predicted = [
        point for out in predictions(strong) if out.runs.mode.count in times for point in predicted_points(out, times)
    ]
    measured = [(1, 1.0), *((ranks, each / ranks) for ranks, each in sorted(times.items()))]
    labels = ["", *(f"{number(each)}x" for _, each in sorted(times.items()))]
    return [
        Line(f"measured{where}", measured, style, labels=labels),
        *([Line(f"ceiling{where}", bounds, style + CEILING, "bound")] if bounds else []),
        *([Line(f"predicted{where}", predicted, style, "predicted")] if predicted else []),
    ]


def over_single_process(runs: ModeRuns, modes: Sequence[ModeRuns]) -> float | None:
    """Speed-up over one process like each of its own."""
    single = single_process(runs, modes)
    times = ratio(runs, single) if single else None
    return times.median if times else None


def predicted_points(out: Prediction, times: Mapping[int, float]) -> list[tuple[float, float]]:
    """Ranks not measured, and their efficiency: that of the measured ones, times the predicted change."""
    own, *others = out.steps
    per_rate = times[own.ranks] / own.images_per_second
    return [(each.ranks, per_rate * each.images_per_second / each.ranks) for each in others]


def step_parts(comparison: Comparison) -> Figure | None:
    bars = []
    for runs in comparison.modes:
        data, exchange = runs.data_share, runs.communication_share
        if data is not None:
            communication = max(exchange.median, 0.0) if exchange else 0.0
            label = f"{share(data)} data" + (f", {share(communication)} exchange" if exchange else "")
            shares = [100 * data, 100 * (1 - data - communication), 100 * communication]
            bars.append(Bar(comparison.name(runs), shares, label))
    caption = "Making the batch and exchanging gradients, as shares of a step."
    return Figure("What a step consists of", bar_chart(bars, "% of a step", STEP_PARTS), caption) if bars else None


def link(comparison: Comparison) -> Figure | None:
    """All-reduce times over sizes."""
    lines = []
    for index, runs in enumerate(runs for runs in comparison.modes if runs.all_reduce):
        points = next(iter(runs.all_reduce.values()))["ranks"][0]["points"]
        milliseconds = [(each["bytes"], 1000 * each["seconds"]) for each in points]
        lines.append(Line(comparison.name(runs), milliseconds, index))
    if not lines:
        return None
    horizontal = Axis("bytes", log=True, ticks=[2**10, 2**15, 2**20, 2**26], text=size_text)
    caption = "Medians, with all ranks starting together; the predictions use these."
    return Figure(
        "The link between the ranks", line_chart(lines, horizontal, Axis("all-reduce (ms)", log=True)), caption
    )


def size_text(size: float) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size / 2**10:.0f} kB"
