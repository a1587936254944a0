"""The headline and the model card as HTML, from an artifact's card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from serve.app.panels.templates import render
from serve.app.panels.training_curves import curves_svg
from serve.card_text import LIMITS, METRICS, SPLITS, data_name, loading_code, preparation, uncertain

MAX_IN_MATRIX = 30  # classes; with more, the most frequent confusions are listed instead
WORST = 20
NAMED = 12  # classes in the headline


def title(card: dict[str, Any]) -> str:
    """The title in the headline and in the browser's tab."""
    data = data_name(card)
    return f"{data} image classifier" if data else "Image classifier"


def headline(card: dict[str, Any]) -> str:
    """Title, classes, accuracy and backbone."""
    return render(
        "headline.html",
        title=title(card),
        classes=named(card["classes"]),
        accuracy=accuracy(card),
        backbone=card["backbone"],
    )


def named(classes: list[str]) -> str:
    """The names of a few classes, or the number of many."""
    if len(classes) > NAMED or len(classes) < 2:
        return f"{len(classes)} classes"
    return ", ".join(classes[:-1]) + " and " + classes[-1]


def accuracy(card: dict[str, Any]) -> str:
    """A sentence with the accuracy and what it was measured on; empty if unknown."""
    for split, words in SPLITS.items():
        if counts := card.get("confusion", {}).get(split):
            right, total = sum(row[place] for place, row in enumerate(counts)), max(sum(map(sum, counts)), 1)
            return f"Accuracy on {total:,} {words} images: {100 * right / total:.2f}%."
    return ""


def card_html(card: dict[str, Any], parameters: int = 0, downloads: Sequence[tuple[str, str]] = ()) -> str:
    """The tab with the model card.

    Args:
        card: the artifact's model.json.
        parameters: number of the network's parameters.
        downloads: names and descriptions of files below download/.
    """
    metrics = card.get("metrics", {})
    confusion = card.get("confusion", {})
    split = next((split for split in SPLITS if f"{split}/acc" in metrics), "test")
    shown = next((split for split in SPLITS if split in confusion), None)
    large = len(card["classes"]) > MAX_IN_MATRIX
    counts = confusion[shown] if shown else []
    per_class = card.get("per_class_accuracy", {}).get(split, {})
    curves = curves_svg(card["curves"]) if card.get("curves") else ""
    return render(
        "card.html",
        split_name=SPLITS[split],
        tiles=tiles(metrics),
        uncertain=uncertain(card),
        per_class_split=SPLITS[split],
        per_class=[(name, share) for name, share in per_class.items() if share is not None and share == share],
        classes=card["classes"],
        matrix=matrix(counts, card["classes"], SPLITS[shown]) if shown and not large else None,
        worst=worst(counts, card["classes"]) if shown and large else [],
        worst_split=SPLITS[shown] if shown else "",
        curves=Markup(curves),  # safe: numbers, and names that the schema allows
        preparation=preparation(card),
        limits=LIMITS,
        downloads=downloads,
        code=loading_code(card),
        provenance=provenance(card, parameters),
    )


def tiles(metrics: dict[str, float]) -> list[dict[str, str]]:
    """One per metric: the test value, with the validation value below it."""
    found = []
    for name, words in METRICS.items():
        values = [metrics[key] for split in SPLITS if (key := f"{split}/{name}") in metrics]
        if values:
            first, *others = [f"{value:.3f}" if name == "loss" else f"{100 * value:.2f}%" for value in values]
            found.append({"name": words, "value": first, "validation": others[0] if others else ""})
    return found


def matrix(counts: list[list[int]], classes: list[str], split: str) -> dict[str, Any]:
    """Rows of cells, each shaded by its share of its row."""
    rows = []
    for truth, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = max(sum(row), 1)
        cells = [
            {
                "count": count,
                "right": truth == column,
                "shade": min((count / total) ** 0.5, 1),
                "title": f"{count} of {total} {name} predicted as {classes[column]}",
            }
            for column, count in enumerate(row)
        ]
        rows.append({"name": name, "cells": cells})
    return {"split": split, "rows": rows}


def worst(counts: list[list[int]], classes: list[str]) -> list[tuple[str, int]]:
    """The most frequent confusions."""
    pairs = [
        (count, truth, column)
        for truth, row in enumerate(counts)
        for column, count in enumerate(row)
        if count and truth != column
    ]
    return [
        (f"{classes[truth]}, predicted as {classes[column]}", count)
        for count, truth, column in sorted(pairs, reverse=True)[:WORST]
    ]


def provenance(card: dict[str, Any], parameters: int) -> list[tuple[str, str]]:
    """Names and values about the network and the run that trained it."""
    known = dict(card.get("provenance", {}))
    if "date" in known:
        known["date"] = str(known["date"]).replace("T", " ").replace("+00:00", " UTC")
    size = {"parameters": f"{parameters:,} ({4 * parameters / 1e6:.1f} MB in fp32)"} if parameters else {}
    rows = {"backbone": card["backbone"], **size, "licence": card.get("license") or "not stated", **known}
    return [
        (name.replace("_", " "), f"{value:.5g}" if isinstance(value, float) else str(value))
        for name, value in rows.items()
        if value is not None
    ]
