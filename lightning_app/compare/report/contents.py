"""What a report contains, in reading order; empty parts are left out."""

from __future__ import annotations

from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.figures import speed as speed_figures
from lightning_app.compare.report.figures import whole_runs as whole_run_figures
from lightning_app.compare.report.figures.figure import Figure
from lightning_app.compare.report.tables import cost, speed, whole_runs
from lightning_app.compare.report.tables.table import Table


def tables(comparison: Comparison) -> list[Table]:
    made = [
        *([whole_runs.original(comparison)] if comparison.original_table else []),
        speed.throughput(comparison),
        speed.rounds(comparison),
        whole_runs.accuracy(comparison),
        whole_runs.wall_time(comparison),
        cost.cost(comparison),
        cost.marginal(comparison),
        speed.predicted(comparison),
    ]
    return [table.compact() for table in made if table.body]


def figures(comparison: Comparison) -> list[Figure]:
    made = [
        speed_figures.speed(comparison),
        speed_figures.efficiency(comparison),
        whole_run_figures.wall_time(comparison),
        whole_run_figures.accuracy(comparison),
        *whole_run_figures.cost(comparison),
        whole_run_figures.wall_time_parts(comparison),
        speed_figures.step_parts(comparison),
        speed_figures.link(comparison),
    ]
    return [figure for figure in made if figure]
