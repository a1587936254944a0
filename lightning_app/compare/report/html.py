"""report.html: a single self-contained file."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_app.compare.analysis.speedup import baseline_of, scaling
from lightning_app.compare.report.answer import answer, caveats
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.contents import figures, tables
from lightning_app.compare.report.formatting import number, percent
from lightning_app.compare.report.method import method, provenance

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent


def render_html(comparison: Comparison) -> str:
    content = comparison.content
    places = [f"{each['cores']} cores of {each['versions'].get('cpu', '?')}" for each in content["machines"].values()]
    return template().render(
        style=(FOLDER / "report.css").read_text(),
        comparison=comparison,
        machines=" and ".join(places),
        answer=answer(comparison),
        caveats=caveats(comparison),
        tiles=list(tiles(comparison)),
        figures=figures(comparison),
        tables=tables(comparison),
        method=method(comparison),
        provenance=provenance(comparison),
        command=shlex.join(content["command"]),
    )


@cache
def template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.jinja")


def tiles(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """(figure, what it is): the key figures of a comparison."""
    timed = [
        (rates.median, runs)
        for runs in comparison.modes
        if (rates := runs.images_per_second) and runs.mode.kind != "serial"
    ]
    if timed:
        rate, fastest = max(timed, key=lambda pair: pair[0])
        yield f"{number(rate)} images/s", f"{comparison.name(fastest)}, the fastest"
        speedup, baseline = scaling(fastest, comparison.modes).speedup, baseline_of(fastest, comparison.modes)
        if speedup and baseline and fastest is not baseline:
            yield f"{number(speedup.median)} x", f"as fast as {comparison.name(baseline)}"
    for _, runs in timed:
        if of_ceiling := scaling(runs, comparison.modes).of_ceiling:
            yield (
                f"{of_ceiling.median:.2f}",
                f"of its ceiling: {comparison.name(runs)} against {runs.mode.count} serial processes at once",
            )
    accurate = [(accuracy.median, runs) for runs in comparison.tested if (accuracy := runs.accuracy)]
    if accurate:
        _, best = max(accurate, key=lambda pair: pair[0])
        yield percent(best.accuracy).split(" ")[0], f"test accuracy of {comparison.name(best)}"
