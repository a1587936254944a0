"""The model card as HTML: metrics, confusion matrix, curves, provenance. All text from the artifact is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from serve.app.panels.training_curves import curves_svg
from serve.card_text import METRICS, preparation, uncertain

MAX_IN_MATRIX = 30  # classes; beyond, the worst confusions are listed
WORST = 20
SPLITS = {"test": "test", "val": "validation"}


def headline(card: dict[str, Any]) -> str:
    """Title and what to expect, for the top of the page."""
    return (
        f'<header class="headline"><h1>What is it?</h1><p><b>{escape(card["backbone"])}</b> tells '
        f"{named(card['classes'])} apart{escape(measured(card))}.</p></header>"
    )


def named(classes: list[str]) -> str:
    """The classes, or how many there are."""
    if len(classes) > 12:
        return f"{len(classes)} classes"
    return escape(", ".join(classes[:-1]) + " and " + classes[-1])


def measured(card: dict[str, Any]) -> str:
    """How good it is, in words."""
    counts = card.get("confusion", {}).get("test")
    if not counts:
        return ""
    right, total = sum(row[place] for place, row in enumerate(counts)), sum(map(sum, counts))
    return f"; {right:,} of {total:,} test images right ({100 * right / total:.2f}%)"


def card_html(card: dict[str, Any]) -> str:
    """The whole tab."""
    first = next((split for split in SPLITS if f"{split}/acc" in card["metrics"]), "test")
    parts = [section(f"Measured on {SPLITS[first]} images", metrics_html(card) + paragraph(uncertain(card)))]
    for split, counts in card.get("confusion", {}).items():
        if split == "test" or "test" not in card["confusion"]:
            parts.append(section(f"What is taken for what ({SPLITS[split]} images)", confusion_html(counts, card)))
    if card.get("curves"):
        parts.append(section("Training", curves_svg(card["curves"])))
    parts.append(section("How a picture is prepared", paragraph(preparation(card))))
    parts.append(section("Where it comes from", provenance_html(card.get("provenance", {}))))
    return f'<article class="card">{"".join(parts)}</article>'


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(rows: Iterable[tuple[str, Any]]) -> str:
    """Names and values."""
    lines = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(plain(value))}</td></tr>"
        for name, value in rows
        if value is not None
    )
    return f'<table class="facts">{lines}</table>'


def plain(value: Any) -> str:
    """A value for people."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def provenance_html(provenance: dict[str, Any]) -> str:
    """What is known of the run."""
    date = {"date": str(provenance["date"]).replace("T", " ").replace("+00:00", " UTC")} if "date" in provenance else {}
    return table((provenance | date).items())


def metrics_html(card: dict[str, Any]) -> str:
    """One tile per metric of the test split, with that of validation below."""
    tiles = []
    for name, words in METRICS.items():
        values = {split: card["metrics"][key] for split in SPLITS if (key := f"{split}/{name}") in card["metrics"]}
        if values:
            first, *others = [f"{value:.3f}" if name == "loss" else f"{100 * value:.2f}%" for value in values.values()]
            below = f"<small>validation {others[0]}</small>" if others else ""
            tiles.append(f'<div class="tile"><b>{first}</b><span>{words}</span>{below}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def confusion_html(counts: list[list[int]], card: dict[str, Any]) -> str:
    """The matrix, or the worst confusions where it would be too large."""
    classes = card["classes"]
    if len(classes) > MAX_IN_MATRIX:
        return worst_html(counts, classes)
    head = "".join(f"<th scope='col'><span>{escape(name)}</span></th>" for name in classes)
    rows = []
    for truth, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = max(sum(row), 1)
        cells = "".join(cell_html(count, count / total, truth == column) for column, count in enumerate(row))
        rows.append(f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>")
    return (
        '<div class="scroll"><table class="confusion"><caption>Rows are true classes, columns predictions.</caption>'
        f"<tr><th></th>{head}</tr>{''.join(rows)}</table></div>"
    )


def cell_html(count: int, share: float, right: bool) -> str:
    """A count, shaded by its share of the row."""
    style = f"--share:{min(share**0.5, 1):.3f}"
    return f'<td class="{"right" if right else "wrong"}" style="{style}">{count or ""}</td>'


def worst_html(counts: list[list[int]], classes: list[str]) -> str:
    """The most frequent confusions."""
    pairs = [
        (count, truth, column)
        for truth, row in enumerate(counts)
        for column, count in enumerate(row)
        if count and truth != column
    ]
    return table(
        (f"{classes[truth]}, taken for {classes[column]}", count)
        for count, truth, column in sorted(pairs, reverse=True)[:WORST]
    )
