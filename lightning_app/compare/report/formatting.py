"""How both reports write figures."""

from __future__ import annotations

from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.spread import Spread

NONE = "-"


def number(value: float) -> str:
    """Three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(found: Spread | None, digits: int | None = None) -> str:
    """A median and its range."""
    if found is None:
        return NONE
    words = [number(each) if digits is None else f"{each:.{digits}f}" for each in (found.median, found.low, found.high)]
    return f"{words[0]} ({words[1]} to {words[2]})" if words[1] != words[2] else words[0]


def share(value: float | None) -> str:
    """A share in percent."""
    return NONE if value is None else f"{100 * value:.1f}%"


def percent(found: Spread | None, digits: int = 2) -> str:
    """A share with its interval or range."""
    if found is None:
        return NONE
    median, low, high = (f"{100 * each:.{digits}f}" for each in (found.median, found.low, found.high))
    return f"{median}% ({low} to {high})" if low != high else f"{median}%"


def gigabytes(value: int | None) -> str:
    """Bytes, in gigabytes."""
    return NONE if value is None else f"{value / 1e9:.1f} GB"


def duration(seconds: float | None) -> str:
    """Seconds, or minutes if there are many."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def processes(runs: ModeRuns) -> str:
    """How many, and with how many threads: 2 x 1."""
    run = runs.any_run
    if run is None:
        return NONE
    rank = run["ranks"][0]
    on = rank["threads"] if rank["device"] == "cpu" else rank["device"]
    return f"{runs.mode.processes} x {on}"
