"""What a run's plots show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lightning_app.results.plots import confusion_figure, curves_figure, write_counts


def test_counts_are_light_on_dark_cells_and_empty_cells_stay_empty() -> None:
    axes = Figure().add_subplot()
    write_counts(axes, np.array([[6, 3], [0, 1]]), np.array([[0.66, 0.33], [0.0, 1.0]]))
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert written == {(0, 0): ("6", "white"), (1, 0): ("3", "black"), (1, 1): ("1", "white")}


def test_rows_of_a_confusion_matrix_are_true_classes_and_shades_their_shares() -> None:
    axes = confusion_figure(np.array([[6, 2], [0, 0]]), ["cat", "dog"]).axes[0]
    assert axes.get_title() == "accuracy 75.00% (6 of 8)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    shades = axes.images[0].get_array()
    assert shades is not None
    assert shades.tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_curves_are_those_of_the_table_by_step_with_accuracy_in_percent(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,test/acc,train/loss,val/acc\n0,3,,2.5,\n0,7,,1.5,0.25\n1,9,0.75,,\n")
    loss, accuracy = curves_figure(table).axes
    drawn = [
        {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in axes.lines}
        for axes in (loss, accuracy)
    ]
    assert drawn == [{"train/loss": [(3, 2.5), (7, 1.5)]}, {"val/acc": [(7, 25.0)], "test/acc": [(9, 75.0)]}]
    assert (loss.get_yscale(), accuracy.get_ylabel()) == ("log", "accuracy (%)")
