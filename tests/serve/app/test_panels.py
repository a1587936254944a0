"""The card's plots and words."""

from __future__ import annotations

from serve.app.panels.card import provenance_html
from serve.app.panels.training_curves import curves_svg


def test_a_run_that_validated_once_gets_no_plot_of_one_point() -> None:
    loss = {"train/loss": [(1, 2.0), (9, 1.0)]}
    assert curves_svg(loss | {"val/acc": [(9, 0.5)]}).count("<svg") == 1
    assert curves_svg(loss | {"val/acc": [(5, 0.4), (9, 0.5)]}).count("<svg") == 2


def test_the_legend_names_the_curves_that_are_drawn() -> None:
    svg = curves_svg({"train/loss": [(1, 2.0), (9, 1.0)], "val/loss": [(9, 1.5)]})
    assert [name in svg for name in ("─ train/loss", "● val/loss", "test/loss")] == [True, True, False]


def test_the_date_is_one_for_people_and_what_is_unknown_is_left_out() -> None:
    html = provenance_html({"git": None, "date": "2026-11-25T00:20:46+00:00"})
    assert "2026-11-25 00:20:46 UTC" in html
    assert "git" not in html
    assert provenance_html({}) == '<table class="facts"></table>'
