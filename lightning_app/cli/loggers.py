"""Which loggers a run has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.loggers import Logger

from lightning_app.results.loggers import MetricsCSVLogger
from lightning_app.trainer.trainer import as_list


def all_loggers(ours: Sequence[Logger], asked_for: Any) -> list[Logger]:
    """Ours, or the user's after our metrics.csv, which curves and cards are made of.

    The first one says where what Lightning's callbacks write goes: into the run's folder, whatever the user's are.

    Args:
        ours: TensorBoard's and metrics.csv.
        asked_for: the Trainer's option `logger`; false leaves metrics.csv alone.
    """
    if asked_for in (None, True):
        return list(ours)
    table = [logger for logger in ours if isinstance(logger, MetricsCSVLogger)]
    return [*table, *(as_list(asked_for) if asked_for else [])]
