"""The plots of a run. matplotlib is imported only to draw: that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_app.results.class_labels import class_labels, draw_text_as_it_is
from lightning_app.results.metrics_table import read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_MARGIN = 1.0  # points of accuracy
MAX_NAMED = 30  # largest number of classes for which cells and axes are labelled


def confusion_figure(counts: np.ndarray, classes: list[str]) -> Figure:
    """A confusion matrix, int [C, C]: rows are true classes, columns predicted ones, shades the share of the row."""
    from matplotlib.figure import Figure

    side = min(3 + 0.5 * len(classes), 14)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    correct, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"accuracy {100 * correct / max(total, 1):.2f}% ({correct} of {total})")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    note = ""
    if len(classes) <= MAX_NAMED:
        note = name_classes(axes, classes)
        write_counts(axes, counts, shares)
    axes.set(xlabel=f"predicted class{note}", ylabel=f"true class{note}")
    return figure


def name_classes(axes: Axes, classes: list[str]) -> str:
    """Label both axes with names of any characters; returns what to note about them."""
    labels = class_labels(classes)
    axes.set_xticks(range(len(classes)), labels.texts, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), labels.texts)
    draw_text_as_it_is([*axes.get_xticklabels(), *axes.get_yticklabels()], labels.fonts)
    return labels.note


def write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """The count in each cell that has one, light on dark cells."""
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        if count:
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)


def curves_figure(metrics_csv: Path) -> Figure:
    """Loss and accuracy over optimizer steps, from a run's metrics.csv."""
    from matplotlib.figure import Figure

    rows = read_rows(metrics_csv)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2, sharex=True)
    draw(loss, rows, {"train/loss": "-", "val/loss": "o--", "test/loss": "s"})
    loss.set(xlabel="optimizer step", ylabel="cross-entropy (nats)", title="Loss", yscale="log")
    draw(accuracy, rows, {"val/acc": "o--", "test/acc": "s"}, percent=True)
    accuracy.set(xlabel="optimizer step", ylabel="accuracy (%)", title="Accuracy", xlim=(0, None))
    low, high = accuracy.get_ylim()
    accuracy.set_ylim(low - LEAST_MARGIN, min(high + LEAST_MARGIN, 100))  # a tenth of a point is no cliff
    return figure


def draw(axes: Axes, rows: list[dict[str, str]], styles: dict[str, str], percent: bool = False) -> None:
    """Plot the columns of the table that have values. Lines and markers differ, so greyscale is enough."""
    for name, style in styles.items():
        points = [(int(row["step"]), float(row[name]) * (100 if percent else 1)) for row in rows if row.get(name)]
        color = "0.6" if name.startswith("train/") else "black"
        if points:
            axes.plot(*zip(*points, strict=True), style, color=color, label=name, markersize=5)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(loc="lower right" if percent else "upper right")  # accuracies rise, losses fall
