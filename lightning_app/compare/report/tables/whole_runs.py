"""Tables of whole runs: accuracy and time, where the time went, and the original study's format."""

from __future__ import annotations

from lightning_app.compare.analysis.cost import devices_of
from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.significance import LEAST_SEEDS
from lightning_app.compare.analysis.whole_runs import WALL_TIME_PARTS, median_parts, times_to_accuracy
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.formatting import NONE, duration, percent, spread
from lightning_app.compare.report.tables.table import Table

ACCURACY_NOTE = (
    "Test accuracy is the mean over the seeds. Its interval is Wilson's for the test images, which count once because "
    "all seeds share them. Against the first: a test for two proportions, and Welch's t-test over seeds, each p times "
    "the number of modes compared; a difference is claimed only if both tests find one, with "
    f"{LEAST_SEEDS} seeds or more. The difference is in points, with Newcombe's 95% interval: the range that the test "
    "images allow, also if no difference was found."
)


def accuracy(comparison: Comparison) -> Table:
    target = f"{100 * comparison.target:.2f}%" if comparison.target else "accuracy"
    head = ["mode", "seeds", "test accuracy (95%)", "correct images", "over seeds", "against the first", "difference"]
    head += ["wall time", f"time to {target}", "images/s"]
    if not comparison.whole:
        return Table("Whole runs", head, [])
    body = [accuracy_row(comparison, runs) for runs in comparison.whole]
    missing = [runs for runs in comparison.modes if runs.reason and not runs.whole]
    body += [[comparison.name(runs), f"not run: {runs.reason}"] for runs in missing]
    why = "given by --target" if comparison.target_given else "the best validation that every run reached"
    time_note = (
        f"Time to accuracy runs from the start of the command to the first validation at or above the target ({why}); "
        "its resolution is the time between two validations."
    )
    return Table("Whole runs", head, body, [ACCURACY_NOTE, time_note])


def accuracy_row(comparison: Comparison, runs: ModeRuns) -> list[str]:
    shares = [correct / total for correct, total in runs.accuracies]
    times = times_to_accuracy(runs, comparison.target) if comparison.target else []
    verdict = comparison.verdict(runs)
    return [
        comparison.name(runs),
        ", ".join(str(seed) for seed in runs.whole),
        percent(runs.accuracy),
        ", ".join(f"{correct:,} of {total:,}" for correct, total in runs.accuracies),
        f"{100 * min(shares):.2f} to {100 * max(shares):.2f}%" if len(shares) > 1 else NONE,
        verdict.text if verdict else NONE,
        points(comparison, runs),
        " / ".join(duration(run["seconds"]) for run in runs.whole.values()),
        " / ".join(duration(when) if when is not None else "not reached" for when in times) or NONE,
        spread(runs.whole_rate),
    ]


def points(comparison: Comparison, runs: ModeRuns) -> str:
    """The difference of accuracies, in percentage points."""
    verdict = comparison.verdict(runs)
    if verdict is None:
        return NONE
    gap = verdict.difference.scaled(100)
    return f"{gap.median:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"


def wall_time(comparison: Comparison) -> Table:
    body = [
        [comparison.name(runs), *(duration(seconds) for seconds in median_parts(runs).values()), duration(wall.median)]
        for runs in comparison.whole
        if (wall := runs.wall_time)
    ]
    note = "Medians over the seeds, measured on the first rank. Set-up: data, model, and the rendezvous of the ranks."
    return Table("Where the time went", ("mode", *WALL_TIME_PARTS, "in all"), body, [note])


def original(comparison: Comparison) -> Table:
    """Mode, hardware, training time and accuracy, in the original study's format."""
    body = []
    for runs in comparison.modes:
        if runs.wall_time and runs.accuracy:
            seconds, share = duration(runs.wall_time.median), f"{runs.accuracy.median:.4f}"
            body.append([comparison.name(runs), hardware(comparison, runs), seconds, share])
        elif runs.mode.kind not in ("serial", "original"):
            body.append([comparison.name(runs), f"no whole run: {runs.reason or 'none was asked for'}"])
    note = "Training time is a whole run's, from the start of the command to its end; median and mean over the seeds."
    head = ["mode", "hardware", "training time", "accuracy"]
    return Table("In the original study's format", head, body, [note], first=True)


def hardware(comparison: Comparison, runs: ModeRuns) -> str:
    assert runs.any_run
    devices, machine = devices_of(runs.any_run), comparison.content["machines"][runs.machine]
    if devices.gpus:
        return f"{devices.gpus} x {runs.any_run['ranks'][0]['device']}"
    return f"{devices.cores} core{'s' if devices.cores > 1 else ''} of {machine['versions'].get('cpu', runs.machine)}"
