"""Tables of the counted steps: throughput, each round, and predictions for more ranks."""

from __future__ import annotations

import statistics

from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.analysis.predicted_modes import PredictedStep, predictions
from lightning_app.compare.analysis.speedup import scaling
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.formatting import NONE, gigabytes, number, percent, processes, share, spread
from lightning_app.compare.report.tables.table import Table

THROUGHPUT = (
    *("mode", "processes x threads", "precision", "images per step", "started by", "images/s", "step (ms)", "speed-up"),
    *("efficiency", "of the ceiling", "data path", "communication", "memory (host)", "memory (GPU)"),
)


def throughput(comparison: Comparison) -> Table:
    """Speed of a step, and what it consists of; also the modes that were not run, with the reason."""
    if not any(runs.steps or runs.reason for runs in comparison.modes):
        return Table("Speed", THROUGHPUT, [])
    shown = [runs for runs in comparison.modes if runs.steps or runs.reason or not runs.whole]
    body = [throughput_row(comparison, runs) for runs in shown]
    return Table("Speed", THROUGHPUT, body, throughput_notes(comparison))


def throughput_notes(comparison: Comparison) -> list[str]:
    if not any(runs.steps for runs in comparison.modes):
        return []
    baseline = next(runs.mode.name for runs in comparison.modes if runs.steps)
    over = "the first mode of its machine" if comparison.several_machines else baseline
    notes = [
        "images/s and step: median over the counted steps (quartiles). Ratios: median over the rounds (range), each "
        f"within one round and one machine. Speed-up is over {over}; efficiency is over one process with as many "
        "threads (or the one GPU), divided by the ranks. Images per step are summed over all ranks.",
    ]
    if any(runs.mode.kind == "serial" and runs.steps for runs in comparison.modes):
        notes.append(
            "serial:N is N independent serial runs at once, each with the threads of one rank of ddp:N and the whole "
            "batch: the ceiling of ddp:N on this one machine, whose cores share memory and clock."
        )
    return notes


def throughput_row(comparison: Comparison, runs: ModeRuns) -> list[str]:
    if not runs.steps or runs.any_run is None:
        return [comparison.name(runs), f"not run: {runs.reason or 'no counted steps were asked for'}"]
    scale = scaling(runs, comparison.modes)
    return [
        comparison.name(runs),
        processes(runs),
        runs.precision or NONE,
        str(runs.any_run["ranks"][0]["batch_size"]),
        runs.any_run["launcher"],
        spread(runs.images_per_second),
        number(1000 * statistics.median(runs.step_times)),
        spread(scale.speedup, 2),
        spread(scale.efficiency, 2),
        spread(scale.of_ceiling, 3),
        share(runs.data_share),
        percent(runs.communication_share, 1),
        gigabytes(runs.peak_memory("host_memory")),
        gigabytes(runs.peak_memory("gpu_memory")),
    ]


def rounds(comparison: Comparison) -> Table:
    """Images/s of every round, so that none can be omitted, and what else the machine did meanwhile."""
    timed = [runs for runs in comparison.modes if runs.steps]
    numbers = sorted({number for runs in timed for number in runs.steps})
    head = ["mode", *(f"round {each + 1}" for each in numbers)]
    body = [
        [comparison.name(runs), *(number(runs.rates[each]) if each in runs.rates else NONE for each in numbers)]
        for runs in timed
    ]
    order = "images/s of the median step. Every second round runs the modes in reverse order."
    return Table("Round by round", head, body, [order, *other_load_notes(comparison), *failure_notes(comparison)])


def failure_notes(comparison: Comparison) -> list[str]:
    """The runs that succeeded only after failed attempts."""
    return [
        f"{comparison.name(runs)}, {'round' if each in runs.steps else 'seed'} {each + (each in runs.steps)}: "
        f"succeeded after {failures} failed attempt{'s' if failures > 1 else ''}."
        for runs, each, failures in comparison.made_again
    ]


def other_load_notes(comparison: Comparison) -> list[str]:
    """How busy other work kept the machine."""
    runs = [run for mode in comparison.modes for run in [*mode.steps.values(), *mode.whole.values()]]
    loads = [run["other_cores"] for run in runs if run.get("other_cores") is not None]
    if not loads:
        return ["It is not known whether other work ran on the machine."]
    median, most = statistics.median(loads), max(loads)
    return [f"Other work kept {median:.2f} cores busy during a run at the median, and {most:.2f} at most."]


def predicted(comparison: Comparison) -> Table:
    """Predictions for more ranks; the first row of each machine was measured, as a check."""
    head = ["ranks", "step (ms)", "of it waiting for gradients", "images/s", "measured (ms)"]
    body, notes = [], []
    for out in predictions(comparison.modes):
        body += [predicted_row(each) for each in out.steps]
        notes.append(
            f"From {comparison.name(out.runs)}: its steps without communication, its gradient buckets, and all-reduces "
            f"of 1 kB to 64 MB between its ranks: {1e6 * out.link.latency:.0f} us per round, and "
            f"{out.link.bandwidth / 1e6:,.0f} MB/s. More ranks are assumed to have their own cores and links, like "
            "these."
        )
    return Table("Predicted, not measured", head, body, notes)


def predicted_row(each: PredictedStep) -> list[str]:
    measured = NONE if each.measured is None else number(1000 * each.measured)
    waiting = share(each.waiting / each.seconds)
    return [str(each.ranks), number(1000 * each.seconds), waiting, number(each.images_per_second), measured]
