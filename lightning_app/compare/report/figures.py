"""The figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.predicted_modes import Outlook, outlooks
from lightning_app.compare.analysis.speedup import ceiling, ratio, single_process
from lightning_app.compare.analysis.whole_runs import WALL_TIME_PARTS, median_parts, validation_curve
from lightning_app.compare.report.formatting import duration, number, share
from lightning_app.compare.report.svg_charts import Axis, Bar, Line, bars, lines, nice_ticks
from lightning_app.compare.report.tables import Findings

MINUTE = 60
STEP_PARTS = ("data path", "compute and the rest", "communication")


@dataclass(frozen=True)
class Figure:
    """A picture and the one thing that it says."""

    title: str
    picture: str
    caption: str


def figures(found: Findings) -> list[Figure]:
    """Those that there is something to draw of."""
    made = [speed(found), speedup(found), walls(found), accuracy(found), breakdown(found), steps(found), link(found)]
    return [figure for figure in made if figure]


def speed(found: Findings) -> Figure | None:
    """Images per second."""
    drawn = []
    for row in found.rows:
        if rates := row.images_per_second:
            hollow = row.mode.kind == "serial"
            shown = [(rates.median, 0)]
            drawn.append(Bar(found.name(row), shown, number(rates.median), (rates.low, rates.high), hollow))
    if not drawn:
        return None
    outlined = " Outlined: independent processes at once, what ranks could reach." if any_serial(found) else ""
    return Figure("Training speed", bars(drawn, "images/s"), f"Median and quartiles of the counted steps.{outlined}")


def any_serial(found: Findings) -> bool:
    """Whether ceilings were measured."""
    return any(row.mode.kind == "serial" and row.steps for row in found.rows)


def speedup(found: Findings) -> Figure | None:
    """Speed-up over one process, against the ideal; what is predicted is drawn apart."""
    strong = [row for row in found.rows if row.mode.kind == "ddp" and not row.mode.weak and row.steps]
    drawn: list[Line] = []
    for style, machine in enumerate(dict.fromkeys(row.machine for row in strong)):
        here = [row for row in strong if row.machine == machine]
        drawn += lines_of(here, found, f" @ {machine}" if found.several_machines else "", style)
    if not drawn:
        return None
    beyond = any(line.kind == "predicted" for line in drawn)
    most = max([4, *(ranks for line in drawn for ranks, _ in line.points)])
    drawn.append(Line("ideal", [(1, 1), (most, most)], 0, "ideal"))
    ticks = [2**power for power in range(int(log2(most)) + 1)]
    axes = [Axis(name, 0.9, most * 1.15, True, ticks) for name in ("ranks", "speed-up over one process")]
    caption = "Filled: measured, over one process with the threads of a rank."
    apart = " Hollow: predicted from the step and the link measured here, for ranks with cores of their own."
    return Figure("Speed-up against ideal", lines(drawn, *axes), caption + (apart if beyond else ""))


def lines_of(strong: Sequence[ModeRuns], found: Findings, where: str, style: int) -> list[Line]:
    """One machine's speed-up: measured, its ceilings, and what is predicted."""
    measured = {row.mode.count: times for row in strong if (times := over_one(row, found.rows))}
    if not measured:
        return []
    bounds = [(row.mode.count, over_one(bound, found.rows)) for row in strong if (bound := ceiling(row, found.rows))]
    beyond = [point for out in outlooks(strong) if out.row.mode.count in measured for point in further(out, measured)]
    return [
        Line(f"measured{where}" if where else "", [(1, 1), *sorted(measured.items())], style),
        *(Line(f"ceiling{where}", [(count, times)], 4) for count, times in bounds if times),
        *([Line(f"predicted{where}", beyond, style, "predicted")] if beyond else []),
    ]


def over_one(row: ModeRuns, rows: Sequence[ModeRuns]) -> float | None:
    """Speed-up over one process that is like each of its own."""
    single = single_process(row, rows)
    times = ratio(row, single) if single else None
    return times.median if times else None


def further(out: Outlook, measured: Mapping[int, float]) -> list[tuple[float, float]]:
    """Ranks that were not measured, and their speed-up: that of the measured ones, times what is predicted beyond."""
    own, *others = out.predicted
    return [(each.ranks, measured[own.ranks] * each.images_per_second / own.images_per_second) for each in others]


def walls(found: Findings) -> Figure | None:
    """Wall time of whole runs."""
    drawn = [
        Bar(found.name(row), [(row.wall_time.median / MINUTE, 0)], duration(row.wall_time.median), minutes(row))
        for row in found.rows
        if row.wall_time
    ]
    caption = "From the start of the command to its end; median and range over the seeds."
    return Figure("Time of a whole run", bars(drawn, "minutes"), caption) if drawn else None


def minutes(row: ModeRuns) -> tuple[float, float] | None:
    """The range of wall times, where there are several."""
    if row.wall_time is None or row.wall_time.low == row.wall_time.high:
        return None
    return row.wall_time.low / MINUTE, row.wall_time.high / MINUTE


def accuracy(found: Findings) -> Figure | None:
    """Validation accuracy over wall time."""
    drawn, rows = [], [row for row in found.rows if any(validation_curve(row.whole[seed]) for seed in row.whole)]
    for style, row in enumerate(rows):
        for place, seed in enumerate(row.whole):
            points = [(when / MINUTE, 100 * share) for when, share in validation_curve(row.whole[seed])]
            drawn.append(Line("" if place else found.name(row), points, style, "thin" if place else "data"))
    points = [point for line in drawn for point in line.points]
    if not points:
        return None
    longest = max(when for when, _ in points) * 1.05
    low, high = min(share for _, share in points), max(share for _, share in points)
    low, high = low - max(1.0, (high - low) / 10), min(100.0, high + max(1.0, (high - low) / 10))
    if found.target and 100 * found.target > low:
        drawn.append(Line("target", [(0, 100 * found.target), (longest, 100 * found.target)], 0, "ideal"))
    horizontal = Axis("minutes since the start of the command", 0, longest, ticks=nice_ticks(0, longest))
    vertical = Axis("validation images right (%)", low, high, ticks=nice_ticks(low, high))
    thin = " Thin: further seeds." if any(line.kind == "thin" for line in drawn) else ""
    return Figure(
        "Accuracy over time", lines(drawn, horizontal, vertical), f"Every validation of the whole runs.{thin}"
    )


def breakdown(found: Findings) -> Figure | None:
    """Parts of the wall time."""
    drawn = [
        Bar(
            found.name(row),
            [(max(seconds, 0), shade) for shade, seconds in enumerate(median_parts(row).values())],
            duration(row.wall_time.median),
        )
        for row in found.rows
        if row.wall_time
    ]
    caption = "Medians over the seeds, of the first rank."
    return Figure("Where the time of a run went", bars(drawn, "seconds", WALL_TIME_PARTS), caption) if drawn else None


def steps(found: Findings) -> Figure | None:
    """Parts of a step."""
    drawn = []
    for row in found.rows:
        rates = row.images_per_second
        if rates is None or row.data_share is None:
            continue
        data, measured = row.data_share, row.communication_share
        exchange = max(measured.median, 0.0) if measured else 0.0
        shares = [(100 * data, 0), (100 * (1 - data - exchange), 1), (100 * exchange, 2)]
        said = f"{share(data)} data" + (f", {share(exchange)} exchange" if measured else "")
        drawn.append(Bar(found.name(row), shares, said))
    caption = "Making the batch, and exchanging gradients, as shares of a step."
    return Figure("What a step is made of", bars(drawn, "% of a step", STEP_PARTS), caption) if drawn else None


def link(found: Findings) -> Figure | None:
    """All-reduce times over sizes, and what was fitted to them."""
    swept = [row for row in found.rows if row.all_reduce]
    if not swept:
        return None
    drawn: list[Line] = []
    for style, row in enumerate(swept):
        measured = next(iter(row.all_reduce.values()))["ranks"][0]["points"]
        drawn.append(Line(found.name(row), [(each["bytes"], 1000 * each["seconds"]) for each in measured], style))
    times = [value for line in drawn for _, value in line.points]
    sizes = [at for line in drawn for at, _ in line.points]
    decades = [10.0**power for power in range(-3, 6) if min(times) * 0.7 <= 10.0**power <= max(times) * 1.4]
    horizontal = Axis("bytes", min(sizes) * 0.8, max(sizes) * 1.3, True, [2**10, 2**15, 2**20, 2**26], size_text)
    vertical = Axis("all-reduce (ms)", min(times) * 0.7, max(times) * 1.4, True, decades)
    caption = "Medians, all ranks beginning together; predictions are made with these."
    return Figure("The link between the ranks", lines(drawn, horizontal, vertical), caption)


def size_text(size: float) -> str:
    """Bytes as a tick."""
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size / 2**10:.0f} kB"
