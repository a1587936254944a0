"""Both reports contain everything, and the page is self-contained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, FLAGS, MISSING
from invented_comparison import content, everything, exchanging, rank, rounds, run

from lightning_app.compare.analysis.speedup import scaling
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.figures.speed import efficiency
from lightning_app.compare.report.formatting import number
from lightning_app.compare.report.html import render_html
from lightning_app.compare.report.markdown import render_markdown

FOUND = Comparison.of(everything())
MODES = ["original", "cpu:1", "cpu:2", "ddp:2", "serial:2", "gpu"]
FIGURES = 8


@pytest.mark.parametrize("report", [render_markdown, render_html])
def test_a_report_has_every_mode_the_reason_of_what_was_not_run_and_the_command(report) -> None:  # type: ignore[no-untyped-def]  # both
    text = report(FOUND)
    assert [mode for mode in MODES if mode not in text] == []
    assert "not run: found no GPU" in text
    assert "lightning_app compare --modes cpu:1 ddp:2" in text
    assert "no difference found (p = 0.72)" in text
    assert "A processor" in text
    assert "0123456789ab" in text


def two_machines() -> Comparison:
    """The same twice, the second one four times as fast with two ranks."""
    ours, theirs = everything(), json.loads(json.dumps(everything()).replace('"here"', '"there"'))
    for each in theirs["runs"]:
        if each["part"] == "steps" and each["mode"] == "ddp:2":
            for rank in each["ranks"]:
                rank["steps"] = [seconds / 4 for seconds in rank["steps"]]
    return Comparison.of(
        ours | {"runs": ours["runs"] + theirs["runs"], "machines": ours["machines"] | theirs["machines"]}, None
    )


def test_each_of_two_machines_has_speedups_of_its_own() -> None:
    found = two_machines()
    figure = efficiency(found)
    assert figure is not None
    assert "measured @ here" in figure.svg
    assert "measured @ there" in figure.svg
    here, there = (scaling(runs, found.modes).speedup for runs in found.modes if runs.mode.name == "ddp:2")
    assert here is not None
    assert there is not None
    assert there.median == pytest.approx(4 * here.median)
    assert f"{number(there.median)} x</b><span>as fast as original @ there" in render_html(found)
    assert "Speed-up is over the first mode of its machine; " in render_markdown(found)
    assert "Speed-up is over original; " in render_markdown(FOUND)


def test_as_many_ranks_on_one_node_and_on_two_are_two_points_of_the_figure() -> None:
    one, two = (rounds(f"ddp:2@{nodes}", exchanging(step), exchanging(step)) for nodes, step in ((1, 1.1), (2, 1.6)))
    figure = efficiency(Comparison.of(content([*rounds("cpu:1", rank(2.0)), *one, *two])))
    assert figure is not None
    for shown in ("measured, 1 node", "measured, 2 nodes", "1.82x", "1.25x"):  # 2.0 / 1.1 and 2.0 / 1.6
        assert shown in figure.svg


@pytest.mark.parametrize("report", [render_markdown, render_html])
def test_the_original_studys_columns_come_first_where_they_are_asked_for(report: Callable[[Comparison], str]) -> None:
    text, plain = (report(Comparison.of(everything(), original_table=asked)) for asked in (True, False))
    title = "In the original study's format" if report is render_markdown else "In the original study&#39;s format"
    assert title not in plain
    assert 0 < text.index(title) < text.index("Whole runs")
    cells = re.split(r"<t[dh][^>]*>|[|<]", text[text.index(title) :])
    found = [cell.strip() for cell in cells if cell.strip()]
    for mode, hardware, accuracy in (
        ("cpu:1", "1 core of A processor", "0.9610"),
        ("ddp:2", "2 cores of A processor", "0.9600"),
    ):
        row = found.index(mode)
        assert hardware in found[row : row + 6]
        assert accuracy in found[row : row + 12]


@pytest.mark.parametrize("report", [render_markdown, render_html])
def test_the_head_names_the_counted_side_and_of_whole_runs_all(report: Callable[[Comparison], str]) -> None:
    whole = everything()
    whole["options"] |= {"data.image_size": [224, 256]}
    steps = whole | {"runs": [each for each in whole["runs"] if each["part"] == "steps"]}
    head = "mobilenet_v2 on cifar10 at 224"
    assert f"{head} (whole runs: 224, 256): what each mode buys" in report(Comparison.of(whole))
    assert f"{head}: what each mode buys" in report(Comparison.of(steps))


def test_the_rows_of_a_markdown_table_are_as_wide_as_its_head() -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", render_markdown(FOUND), re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_is_well_formed_and_asks_for_nothing() -> None:
    text = render_html(FOUND)
    tags: list[str] = []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert {name for name, _ in attrs} & {"src", "href", "srcset"} == set()
            if tag != "meta":
                tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert tags.pop() == tag

    Nesting().feed(re.sub(r"<(\w+)([^>]*)/>", r"<\1\2></\1>", text))
    assert tags == []
    assert "url(" not in text
    assert text.count("<figure>") == FIGURES


@pytest.mark.parametrize("timed", [True, False])
def test_what_a_run_says_is_no_markup(timed: bool) -> None:
    failed = run("steps", "ddp:2", 0, [], failed="exit code 1: <script>alert(1)</script> | x\ny")
    found = Comparison.of(content([*(rounds("cpu:1", rank(1.0)) if timed else []), failed]))
    assert "exit code 1: &lt;script&gt;alert(1)&lt;/script&gt; | x\ny" in render_html(found)
    assert "<script>" not in render_html(found)
    (line,) = [each for each in render_markdown(found).splitlines() if each.startswith("| ddp:2 | not run")]
    assert "exit code 1: <script>alert(1)</script> / x y |" in line


def test_a_comparison_in_which_nothing_could_be_run_still_reports() -> None:
    found = Comparison.of(content([]))
    assert "<figure>" not in render_html(found)
    assert render_markdown(found).startswith("# mobilenet_v2 on cifar10")


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1240), ("dark", 390)])
def test_a_browser_shows_the_page_without_complaint_or_overflow(scheme: str, width: int, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason=MISSING)
    (tmp_path / "report.html").write_text(render_html(FOUND))
    complaints: list[str] = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shown = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        shown.on("console", lambda said: complaints.append(said.text))
        shown.goto((tmp_path / "report.html").as_uri())
        wide = shown.evaluate("document.documentElement.scrollWidth")
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        chromium.close()
    assert complaints == []
    assert wide == width
    assert paper == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 23, 26)"}[scheme]
