"""Lengths and places are those of the values."""

from __future__ import annotations

import re

import pytest

from lightning_app.compare.report.svg_charts import LEFT, RIGHT, WIDTH, Axis, Bar, Line, bars, lines, nice_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8]), (91.3, 96.2, [92, 93, 94, 95, 96])],
)
def test_ticks_are_round_and_within(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_bars_are_as_long_as_their_values() -> None:
    picture = bars([Bar("one", [(1.0, 0), (2.0, 1)], "3"), Bar("two", [(6.0, 0)], "6")], "s", ["first", "second"])
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="22"', picture)]
    assert [width / widths[0] for width in widths] == pytest.approx([1, 2, 6], rel=1e-2)


def test_a_logarithmic_axis_halves_at_the_geometric_mean() -> None:
    axis = Axis("ranks", 1, 16, log=True)
    assert [axis.share(value) for value in (1, 4, 16)] == pytest.approx([0, 0.5, 1])


def test_a_line_goes_through_its_points() -> None:
    line = Line("up", [(0, 0), (5, 1), (10, 0)])
    picture = lines([line], Axis("x", 0, 10), Axis("y", 0, 1))
    places = re.findall(r'<circle cx="([\d.]+)"', picture)
    assert [float(place) for place in places] == pytest.approx(
        [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT], abs=0.1
    )


def test_names_are_text_and_no_markup() -> None:
    assert "<b>" not in bars([Bar("<b>", [(1.0, 0)], "<b>")], "<b>")
