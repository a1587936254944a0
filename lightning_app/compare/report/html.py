"""report.html: one file that needs no other."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lightning_app.compare.analysis.significance import Verdict
from lightning_app.compare.analysis.speedup import baseline_of, scaling
from lightning_app.compare.report.figures import Figure, figures
from lightning_app.compare.report.formatting import number, percent
from lightning_app.compare.report.tables import Findings, Table, provenance, rules, tables

STYLE = Path(__file__).with_name("html.css")


def page(found: Findings) -> str:
    """The whole page."""
    sections = [head(found), drawn(figures(found)), *(table_html(table) for table in tables(found)), foot(found)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(found.title)}</title><style>{STYLE.read_text()}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def head(found: Findings) -> str:
    """Title, one line of what and where, and the figures to remember."""
    content = found.content
    places = [
        f"{facts['cores']} cores of {facts['versions'].get('cpu', '?')}" for facts in content["machines"].values()
    ]
    same = f"Global batch {content['batch_size']}, the same order of images and the same recipe in every mode"
    what = f"{same}; {' and '.join(places)}."
    shown = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(words)}</span></div>' for figure, words in tiles(found)
    )
    return f'<header><h1>{escape(found.title)}</h1><p>{escape(what)}</p></header><div class="tiles">{shown}</div>'


def tiles(found: Findings) -> Iterator[tuple[str, str]]:
    """What one remembers of a comparison: a figure and what it is."""
    timed = [row for row in found.rows if row.images_per_second and row.mode.kind != "serial"]
    if timed:
        fastest = max(timed, key=lambda row: row.images_per_second.median if row.images_per_second else 0)
        if fastest.images_per_second:
            yield f"{number(fastest.images_per_second.median)} images/s", f"{found.name(fastest)}, the fastest"
        speedup = scaling(fastest, found.rows).speedup
        baseline = baseline_of(fastest, found.rows)
        if speedup and baseline and fastest is not baseline:
            yield f"{number(speedup.median)} x", f"as fast as {found.name(baseline)}"
    for row in timed:
        scale = scaling(row, found.rows)
        if scale.of_ceiling:
            yield (
                f"{scale.of_ceiling.median:.2f}",
                f"of its ceiling: {found.name(row)} against {row.mode.count} serial processes at once",
            )
    whole = [row for row in found.rows if row.accuracy]
    if whole:
        best = max(whole, key=lambda row: row.accuracy.median if row.accuracy else 0)
        yield percent(best.accuracy).split(" ")[0], f"of the test images right, {found.name(best)}"
        said = [Verdict(whole[0].accuracies, row.accuracies).text.split(" (")[0] for row in whole[1:]]
        if said:
            yield "; ".join(dict.fromkeys(each.split(":")[0] for each in said)), "in accuracy between the modes"


def drawn(made: Sequence[Figure]) -> str:
    """All figures."""
    parts = [
        f"<figure><h3>{escape(each.title)}</h3>{each.picture}<figcaption>{escape(each.caption)}</figcaption></figure>"
        for each in made
    ]
    return f'<div class="figures">{"".join(parts)}</div>'


def table_html(table: Table) -> str:
    """A table under its title."""
    header = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    body = "".join(row_html(row, len(table.head)) for row in table.body)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return f'<h2>{escape(table.title)}</h2><div class="scroll"><table><tr>{header}</tr>{body}</table></div>{notes}'


def row_html(row: Sequence[str], width: int) -> str:
    """A row; one without numbers says why over the whole width."""
    if len(row) < width:
        return f'<tr><td>{escape(row[0])}</td><td class="why" colspan="{width - 1}">{escape(row[1])}</td></tr>'
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"


def foot(found: Findings) -> str:
    """Rules, provenance, the command."""
    stated = "".join(f"<li>{escape(rule)}</li>" for rule in rules(found))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in provenance(found)[:-1])
    command = escape(shlex.join(found.content["command"]))
    return (
        f"<h2>How it was measured</h2><ul>{stated}</ul><h2>Provenance</h2><dl>{facts}</dl>"
        f"<h2>To repeat it</h2><pre>{command}</pre>"
    )
