"""Charts as SVG whose colours are the page's, so that they follow light and dark; told apart in grey too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10

WIDTH = 560
BAR, GAP = 22, 12
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 14, 44  # margins of a plot with axes
PLOT_HEIGHT = 300
NAME_WIDTH = 118
TICKS = 5
DASHES = ("", "7 4", "2 3", "10 3 2 3", "1 5")
MARKERS = ("circle", "square", "diamond", "ring", "cross")


@dataclass(frozen=True)
class Bar:
    """A horizontal bar.

    Attributes:
        name: left of it.
        parts: lengths end to end, each with the index of its shade.
        label: right of it.
        whisker: from and to, where there is a spread.
        hollow: it is no mode, but a bound.
    """

    name: str
    parts: Sequence[tuple[float, int]]
    label: str
    whisker: tuple[float, float] | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Line:
    """Points that belong together.

    Attributes:
        name: at its end.
        points: x and y.
        style: index of dash and marker.
        kind: `data` has markers and a line, `thin` is a further run of the same, `ideal` a line alone, `predicted`
            hollow markers.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    kind: str = "data"


@dataclass(frozen=True)
class Axis:
    """From values to a place in the picture.

    Attributes:
        label: with its unit.
        low, high: the ends.
        log: logarithmic, to base 10.
        ticks: values that are marked.
        text: a tick as it is written.
    """

    label: str
    low: float
    high: float
    log: bool = False
    ticks: Sequence[float] = field(default_factory=tuple)
    text: Callable[[float], str] = lambda value: f"{value:g}"

    def share(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        if self.log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)


def nice_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Round values within a range, about `count` of them."""
    rough = (high - low) / count
    power = 10 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, floor(high / step + 1e-9) + 1)]


def bars(found: Sequence[Bar], unit: str, shades: Sequence[str] = ()) -> str:
    """Horizontal bars from zero, with a legend where they have several parts.

    Args:
        found: the bars.
        unit: of their lengths, for the axis.
        shades: names of the parts.
    """
    longest = max(max(sum(length for length, _ in bar.parts), (bar.whisker or (0, 0))[1]) for bar in found)
    space = WIDTH - NAME_WIDTH - max(len(bar.label) for bar in found) * 6.6 - 10
    top = 24 * len(list(rows_of(shades))) if shades else 4
    height = top + len(found) * (BAR + GAP) + 38
    parts = [*legend(shades), *scale(longest, space, top, height - 38, unit)]
    for index, bar in enumerate(found):
        parts += drawn(bar, top + index * (BAR + GAP) + GAP / 2, space / longest)
    return svg(height, parts, unit)


def drawn(bar: Bar, y: float, per_unit: float) -> Iterator[str]:
    """One bar: its name, its parts, its whisker, its label."""
    middle = y + BAR / 2
    yield text(NAME_WIDTH - 8, middle + 4, bar.name, "name", "end")
    x = float(NAME_WIDTH)
    for length, shade in bar.parts:
        kind = "hollow" if bar.hollow else f"shade{shade}"
        yield f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(length * per_unit, 0):.1f}" height="{BAR}"/>'
        x += length * per_unit
    if bar.whisker:
        low, high = (NAME_WIDTH + each * per_unit for each in bar.whisker)
        yield f'<path class="whisker" d="M{low:.1f},{middle}H{high:.1f}M{low:.1f},{y + 6}v10M{high:.1f},{y + 6}v10"/>'
        x = max(x, high)
    yield text(x + 7, middle + 4, bar.label, "value")


def scale(longest: float, space: float, top: float, bottom: float, unit: str) -> Iterator[str]:
    """Grid lines below the bars and their values."""
    for tick in nice_ticks(0, longest):
        x = NAME_WIDTH + tick / longest * space
        yield f'<path class="grid" d="M{x:.1f},{top}V{bottom}"/>'
        yield text(x, bottom + 14, f"{tick:g}", "tick", "middle")
    yield text(NAME_WIDTH + space / 2, bottom + 32, unit, "axis", "middle")


def rows_of(names: Sequence[str]) -> Iterator[list[tuple[int, str, float]]]:
    """Names in lines that fit, each with its index and place."""
    row: list[tuple[int, str, float]] = []
    x = 0.0
    for index, name in enumerate(names):
        width = 30 + 6.8 * len(name)
        if row and x + width > WIDTH:
            yield row
            row, x = [], 0.0
        row.append((index, name, x))
        x += width
    if row:
        yield row


def legend(names: Sequence[str]) -> Iterator[str]:
    """A square of each shade and its name."""
    for line, row in enumerate(rows_of(names)):
        for index, name, x in row:
            y = 4 + 22 * line
            yield f'<rect class="shade{index}" x="{x:.1f}" y="{y}" width="12" height="12"/>'
            yield text(x + 17, y + 10, name, "value")


def lines(found: Sequence[Line], horizontal: Axis, vertical: Axis) -> str:
    """Lines and points over two axes, each line named where it ends."""
    parts = [*axes(horizontal, vertical)]
    taken: list[float] = []
    for line in found:
        places = [place(point, horizontal, vertical) for point in line.points]
        parts += traced(line, places)
        if line.name and places:
            parts.append(named(line, places[-1], taken))
    return svg(PLOT_HEIGHT, parts, f"{vertical.label} over {horizontal.label}")


def named(line: Line, end: tuple[float, float], taken: list[float]) -> str:
    """The name of a line at its last point, kept apart from the names before."""
    x, y = end
    y = y - 9 if y > TOP + 20 else y + 18
    while any(abs(y - other) < 13 for other in taken):
        y += 13
    taken.append(y)
    return text(min(x + 2, WIDTH - RIGHT), y, line.name, "end " + line.kind, "end" if x > WIDTH / 2 else "start")


def traced(line: Line, places: Sequence[tuple[float, float]]) -> Iterator[str]:
    """The line and its markers."""
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<path class="line {line.kind} tone{line.style % 5}" stroke-dasharray="{dash(line)}" d="{path}"/>'
    if line.kind in ("data", "predicted"):
        for (x, y), (at, value) in zip(places, line.points, strict=True):
            yield marker(line, x, y, f"{line.name}: {value:.4g} at {at:.4g}")


def dash(line: Line) -> str:
    """Of a kind of line."""
    return {"ideal": "4 4", "predicted": "1 4"}.get(line.kind, DASHES[line.style % len(DASHES)])


def marker(line: Line, x: float, y: float, title: str) -> str:
    """A point, whose shape tells lines apart."""
    shape = "ring" if line.kind == "predicted" else MARKERS[line.style % len(MARKERS)]
    size = 4.5
    body = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>',
        "ring": f'<circle class="open" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>',
        "square": f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>',
        "diamond": f'<path d="M{x:.1f},{y - 6:.1f}l6,6l-6,6l-6,-6z"/>',
        "cross": f'<path class="open" d="M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8"/>',
    }[shape]
    return f'<g class="mark tone{line.style % 5}"><title>{escape(title)}</title>{body}</g>'


def place(point: tuple[float, float], horizontal: Axis, vertical: Axis) -> tuple[float, float]:
    """Where a point lies in the picture."""
    return (
        LEFT + horizontal.share(point[0]) * (WIDTH - LEFT - RIGHT),
        PLOT_HEIGHT - BOTTOM - vertical.share(point[1]) * (PLOT_HEIGHT - TOP - BOTTOM),
    )


def axes(horizontal: Axis, vertical: Axis) -> Iterator[str]:
    """Grid, ticks and labels."""
    bottom, right = PLOT_HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in horizontal.ticks:
        x, _ = place((tick, vertical.low), horizontal, vertical)
        yield f'<path class="grid" d="M{x:.1f},{TOP}V{bottom}"/>' + text(
            x, bottom + 16, horizontal.text(tick), "tick", "middle"
        )
    for tick in vertical.ticks:
        _, y = place((horizontal.low, tick), horizontal, vertical)
        yield f'<path class="grid" d="M{LEFT},{y:.1f}H{right}"/>' + text(
            LEFT - 7, y + 4, vertical.text(tick), "tick", "end"
        )
    yield text((LEFT + right) / 2, PLOT_HEIGHT - 8, horizontal.label, "axis", "middle")
    middle = (TOP + bottom) / 2
    yield f'<g transform="rotate(-90 14 {middle})">{text(14, middle, vertical.label, "axis", "middle")}</g>'


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Words in a picture."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(height: float, parts: Sequence[str], label: str) -> str:
    """A picture that takes the width it gets."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
