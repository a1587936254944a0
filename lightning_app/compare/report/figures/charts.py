"""Bars and lines drawn by matplotlib, as SVG in the page's colours, so that they follow light and dark mode.

Lines differ in marker and dash, parts of bars in lightness, so that everything is distinguishable in greyscale. Names
are in a legend above the axes, where they hide nothing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# matplotlib draws in these colours; the page's variables (report.css) replace them.
VARIABLES = {"#010101": "--ink", "#020202": "--soft", "#030303": "--grid", "#040404": "--card"}
TONES = [f"#0500{index:02x}" for index in range(5)]
SHADES = [f"#0600{index:02x}" for index in range(8)]
VARIABLES |= {color: f"--tone{index}" for index, color in enumerate(TONES)}
VARIABLES |= {color: f"--shade{index}" for index, color in enumerate(SHADES)}
UNWANTED = re.compile(
    r'<metadata>.*?</metadata>|<clipPath.*?</clipPath>| clip-path="[^"]*"|<!--.*?-->|<style.*?</style>', re.DOTALL
)
INK, SOFT, GRID, CARD = list(VARIABLES)[:4]
DASHES: list[Any] = ["-", (0, (7, 4)), (0, (2, 3)), (0, (10, 3, 2, 3)), (0, (1, 4))]
MARKERS = "osD^vPX*"
WIDTH, BAR_HEIGHT, PLOT_HEIGHT = 5.8, 0.36, 3.2  # inches
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "compare",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": GRID,
    "legend.frameon": False,
    "axes.formatter.useoffset": False,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Bar:
    """A horizontal bar.

    Attributes:
        parts: lengths end to end.
        label: to the right of it.
        whisker: from and to, if there is a spread.
        hollow: it is a bound, not a mode.
    """

    name: str
    parts: Sequence[float]
    label: str
    whisker: tuple[float, float] | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Line:
    """Points that belong together.

    Attributes:
        name: in the legend; empty for none.
        points: x and y.
        style: index of colour, dash and marker.
        kind: `data` has markers and a line, `thin` is another run of the same, `reference` only a line, `predicted`
            hollow markers, `points` only markers, `bound` a dash at each point, which hides no marker.
        labels: beside the points.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    kind: str = "data"
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: with its unit.
        low, high: the ends; None lets matplotlib choose.
        ticks: values to mark; empty lets matplotlib choose.
        text: formats a tick.
    """

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    ticks: Sequence[float] = ()
    text: Callable[[float], str] = "{:g}".format


def bar_chart(bars: Sequence[Bar], unit: str, parts: Sequence[str] = ()) -> str:
    """Horizontal bars from zero; `parts` names their parts, for the legend."""

    def draw(axes: Axes) -> None:
        longest = max(max(sum(bar.parts), (bar.whisker or (0, 0))[1]) for bar in bars)
        for place, bar in enumerate(bars):
            draw_bar(axes, place, bar, longest, parts)
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(unit)
        axes.set_xlim(0, longest * 1.02)
        axes.spines["left"].set_visible(False)

    legend_rows = -(-len(parts) // 4)
    return draw_svg(draw, BAR_HEIGHT * len(bars) + 0.65 + 0.25 * legend_rows, unit)


def draw_bar(axes: Axes, place: int, bar: Bar, longest: float, parts: Sequence[str]) -> None:
    left = 0.0
    for index, length in enumerate(bar.parts):
        face = "none" if bar.hollow else SHADES[index]
        edge = SOFT if bar.hollow else CARD if parts else "none"
        name = parts[index] if parts and not place else None
        axes.barh(place, length, 0.64, left, facecolor=face, edgecolor=edge, linewidth=0.8, label=name)
        left += length
    if bar.whisker:
        axes.plot(bar.whisker, (place, place), color=INK, linewidth=1.2, marker="|", markersize=7)
        left = max(left, bar.whisker[1])
    axes.annotate(bar.label, (left, place), (6, 0), textcoords="offset points", va="center", annotation_clip=False)


def line_chart(lines: Sequence[Line], horizontal: Axis, vertical: Axis) -> str:
    """Lines and points over two axes."""

    def draw(axes: Axes) -> None:
        for line in lines:
            draw_line(axes, line)
        draw_axis(horizontal, axes.set_xscale, axes.set_xlim, axes.xaxis)
        draw_axis(vertical, axes.set_yscale, axes.set_ylim, axes.yaxis)
        axes.grid()

    named = sum(bool(line.name) for line in lines)
    return draw_svg(draw, PLOT_HEIGHT + 0.2 * (named // 4), f"{vertical.label} over {horizontal.label}")


def draw_axis(axis: Axis, scale: Callable[[str], None], limits: Callable[..., Any], target: Any) -> None:
    """Draw an axis with matplotlib's setters and object for it."""
    if axis.log:
        scale("log")
        target.set_major_formatter("{x:g}")  # else powers of ten, as formulas
        target.set_minor_formatter("")
    limits(axis.low, axis.high)
    target.set_label_text(axis.label)
    if axis.ticks:
        target.set_ticks(axis.ticks, [axis.text(tick) for tick in axis.ticks])
        target.set_ticks([], minor=True)


def draw_line(axes: Axes, line: Line) -> None:
    tone = SOFT if line.kind == "reference" else TONES[line.style % len(TONES)]
    hollow = line.kind == "predicted"
    dash = {"reference": (0, (4, 4)), "predicted": (0, (1, 3)), "points": "", "bound": ""}.get(line.kind)
    axes.plot(
        *zip(*line.points, strict=True),
        color=tone,
        linestyle=DASHES[line.style % len(DASHES)] if dash is None else dash,
        linewidth={"thin": 0.8, "reference": 1.1, "predicted": 1.3}.get(line.kind, 1.8),
        marker={"reference": "", "thin": "", "bound": "_"}.get(line.kind, MARKERS[line.style % len(MARKERS)]),
        markersize=20 if line.kind == "bound" else 6,
        markeredgewidth=2 if line.kind == "bound" else 1,
        markerfacecolor=CARD if hollow else tone,
        label=line.name or None,
        zorder={"reference": 1, "bound": 2}.get(line.kind, 3),  # a ceiling hides no measured point
    )
    for label, point in zip(line.labels, line.points, strict=False):
        # To the left of a rising line's end, or below a point, where nothing else is drawn.
        place, side = ((-8, 0), "right") if line.kind == "reference" else ((0, -14), "center")
        axes.annotate(label, point, place, textcoords="offset points", ha=side, fontsize="small")


def draw_svg(draw: Callable[[Axes], None], height: float, label: str) -> str:
    """What `draw` puts on the axes, with a legend above them, as an HTML element."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        canvas = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = canvas.subplots()
        draw(axes)
        if axes.get_legend_handles_labels()[1]:
            canvas.legend(loc="outside upper left", ncols=4, fontsize="small", handlelength=3, columnspacing=1.2)
        return to_element(canvas, label)


def to_element(canvas: Canvas, label: str) -> str:
    """Without what only a file needs, and with the page's colours and font."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = UNWANTED.sub("", svg)
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg)  # ids of groups: figure_1 is in every figure
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit-font", svg).replace("inherit-font", "system-ui, sans-serif")
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box
    body = re.sub(r"^<svg[^>]*>", "", svg).strip()
    return f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" aria-label="{escape(label)}">{body}'
