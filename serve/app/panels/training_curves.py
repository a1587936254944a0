"""Training curves as SVG in the page's colours, which follow the light or dark theme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 270, 52, 44, 50, 12
LEGEND = 88  # pixels for each name
Curve = Sequence[Sequence[float]]  # (optimizer step, value)
Scale = Callable[[float], float]
SYMBOLS = {"thin": "─", "line": "●", "point": "■"}
MARKS = {"train/loss": "thin", "val/loss": "line", "test/loss": "point", "val/acc": "line", "test/acc": "point"}


def curves_svg(curves: Mapping[str, Curve]) -> str:
    """Loss and accuracy side by side, or one below the other on a phone."""
    losses = {name: curve for name, curve in curves.items() if name.endswith("loss")}
    accuracies = {
        name: [(step, 100 * value) for step, value in curve] for name, curve in curves.items() if name.endswith("acc")
    }
    # The loss axis starts at zero and the accuracy axis ends at 100%.
    highest = max((value for curve in losses.values() for _, value in curve), default=1.0)
    lowest = min((value for curve in accuracies.values() for _, value in curve), default=0.0)
    panels = [
        panel(losses, "cross-entropy (nats)", 0, highest),
        panel(accuracies, "accuracy (%)", lowest // 20 * 20 if lowest < 100 else 80, 100),
    ]
    return f'<div class="curves">{"".join(panels)}</div>'


def panel(curves: Mapping[str, Curve], label: str, low: float, high: float) -> str:
    """One plot of values from `low` to `high`; empty if no curve has two points."""
    if all(len(curve) < 2 for curve in curves.values()):
        return ""
    steps = [point[0] for curve in curves.values() for point in curve]
    across, up = scale(0, max(steps), LEFT, WIDTH - RIGHT), scale(low, high, HEIGHT - BOTTOM, TOP)
    marks = "".join(draw(name, [(across(step), up(value)) for step, value in curve]) for name, curve in curves.items())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label} over optimizer steps">'
        f"{grid(low, high, up)}{marks}{legend(curves)}"
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">optimizer step</text>'
        f'<text class="axis" x="{LEFT}" y="{HEIGHT - 26}" text-anchor="middle">0</text>'
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 26}" text-anchor="end">{max(steps):,.0f}</text>'
        f'<text class="axis" x="{LEFT - 40}" y="14">{label}</text></svg>'
    )


def scale(low: float, high: float, start: float, stop: float) -> Scale:
    """A linear map of [low, high] to [start, stop]."""
    span = (high - low) or 1.0
    return lambda value: start + (stop - start) * (value - low) / span


def grid(low: float, high: float, up: Scale) -> str:
    """Five horizontal lines with their values."""
    lines = []
    for part in range(5):
        value = low + (high - low) * part / 4
        y = up(value)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    return "".join(lines)


def draw(name: str, points: list[tuple[float, float]]) -> str:
    """A curve as a line, markers or both, as its name says in MARKS."""
    kind = MARKS.get(name, "line")
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline class="{kind}" points="{path}"/>' if kind != "point" and len(points) > 1 else ""
    if kind == "thin":
        return line
    shape = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="7" height="7"/>'
    if kind == "line":
        return line + "".join(f'<circle class="line" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in points)
    return "".join(shape.format("point", x - 3.5, y - 3.5) for x, y in points)


def legend(curves: Mapping[str, Curve]) -> str:
    """The names of the curves with their symbols, above the plot."""
    return "".join(
        f'<text class="axis" x="{LEFT + place * LEGEND}" y="36">{SYMBOLS[MARKS.get(name, "line")]} {name}</text>'
        for place, name in enumerate(curves)
    )
