"""Everything that a finished fit writes into its folder, in one place; only on rank 0."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_app.files import replace_file
from lightning_app.results.card import model_card
from lightning_app.results.examples import choose_examples
from lightning_app.results.finished_run import FinishedRun
from lightning_app.results.hparams import write_hparams
from lightning_app.results.plots import confusion_figure, curves_figure
from lightning_app.results.summary import summary
from models.artifact import save_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
METRICS_JSON, ARTIFACT, DATA_REPORT = "metrics.json", "model", "data.txt"


def write_results(run: FinishedRun) -> None:
    """Write the artifact, metrics.json, HPARAMS and the plots, then print the summary.

    Raises:
        OSError: the artifact or metrics.json could not be written.
    """
    examples, pictures = choose_examples(run.data, run.model.results.get("test"))
    save_artifact(run.folder / ARTIFACT, run.model.network, model_card(run) | {"examples": examples}, pictures)
    replace_file(run.folder / METRICS_JSON, metrics_json(run).encode())
    run.data.write_report(run.folder / DATA_REPORT)
    write_hparams(run)
    write_plot(run.folder / "curves.png", lambda: curves_figure(run.folder / "metrics.csv"))
    if run.split:
        counts = run.model.results[run.split]["confusion"].cpu().numpy()
        write_plot(run.folder / "confusion.png", lambda: confusion_figure(counts, run.data.packed.classes))
    print(summary(run), flush=True)


def metrics_json(run: FinishedRun) -> str:
    """The final metrics for other programs; null stands for NaN or infinity."""
    metrics = {name: value if math.isfinite(value) else None for name, value in run.metrics().items()}
    facts = {"epoch": run.epoch, "step": run.step, "seconds": round(run.seconds, 1), "model": ARTIFACT}
    return json.dumps({"metrics": metrics, **facts, "hparams": dict(run.hparams)}, indent=1)


def write_plot(path: Path, draw: Callable[[], Figure]) -> None:
    """Draw and save a figure; the model is trained by now, so any failure is only a warning."""
    try:
        draw().savefig(path, dpi=120)
    except Exception as error:
        log.warning(f"{path} could not be drawn ({type(error).__name__}: {error})")
