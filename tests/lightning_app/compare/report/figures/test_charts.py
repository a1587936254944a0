"""Lengths and positions match the values, and colours are the page's."""

from __future__ import annotations

import re

import pytest

from lightning_app.compare.report.figures.charts import Axis, Bar, Line, bar_chart, line_chart


def widths(svg: str, shade: str) -> list[float]:
    """Of the bars of one shade: their paths go right by their width first."""
    found = re.findall(r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ [^"]*" style="fill: var\(--' + shade + r"\)", svg)
    return [float(right) - float(left) for left, right in found]


def test_bars_are_as_long_as_their_values() -> None:
    svg = bar_chart([Bar("one", [1.0, 2.0], "3"), Bar("two", [6.0, 0.5], "6")], "s", ["first", "second"])
    swatch, one, two = widths(svg, "shade0")[-1], *widths(svg, "shade0")[:2]
    assert swatch > 0  # in the legend
    assert two / one == pytest.approx(6)
    assert widths(svg, "shade1")[0] / one == pytest.approx(2)


def test_a_line_goes_through_its_points() -> None:
    svg = line_chart([Line("up", [(0, 0), (5, 1), (10, 0)])], Axis("x", 0, 10), Axis("y", 0, 1))
    marks = [(float(x), float(y)) for x, y in re.findall(r'x="([\d.]+)" y="([\d.]+)" style="fill: var\(--tone0\)', svg)]
    (left, low), (middle, high), (right, also_low) = marks[:3]  # the fourth is the legend's
    assert middle == pytest.approx((left + right) / 2, abs=0.01)
    assert low == also_low > high


def test_a_logarithmic_axis_halves_at_the_geometric_mean() -> None:
    svg = line_chart([Line("", [(1, 1), (4, 1), (16, 1)])], Axis("ranks", 1, 16, log=True), Axis("y", 0, 2))
    places = [float(x) for x in re.findall(r'x="([\d.]+)" y="[\d.]+" style="fill: var\(--tone0\)', svg)]
    assert places[1] == pytest.approx((places[0] + places[2]) / 2, abs=0.01)


def test_every_colour_is_a_variable_of_the_page_and_no_id_comes_twice() -> None:
    both = bar_chart([Bar("a", [1.0], "1", (0.5, 1.5), hollow=True)], "s") * 2
    both += line_chart([Line("b", [(1, 1)], kind="predicted")], Axis("x"), Axis("y"))
    assert re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(id="|href="#)\w+', "", both)) == []
    assert not re.search(r'id="(figure|axes|patch|text)_', both)


def test_names_are_text_and_neither_markup_nor_formulas() -> None:
    svg = bar_chart([Bar("<b>", [1.0], "$x_1$")], "<b>")
    assert "<b>" not in svg
    assert "$x_1$" in svg
