"""Tables of what a mode costs, and what more devices would save and cost."""

from __future__ import annotations

from lightning_app.compare.analysis.cost import IMAGES, Marginal, ModeCost, cost_of, energy_of, marginals
from lightning_app.compare.analysis.mode_runs import ModeRuns
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.formatting import NONE, number
from lightning_app.compare.report.tables.table import Table

WATT_HOUR = 3600.0
COST_NOTE = (
    "A core-hour is one thread of one process for an hour, and a GPU-hour is one rank's GPU for an hour. Both count "
    "from the start of the command to its end, idle time included; the table has medians over the seeds. To the "
    "target: up to the first validation at or above it, if every seed reached it. A million images: at the rate of the "
    f"counted steps, so without start, validation and test ({IMAGES:,} images are {IMAGES / 50_000:.0f} epochs of "
    "CIFAR-10)."
)


def cost(comparison: Comparison) -> Table:
    target = f"{100 * comparison.target:.2f}%" if comparison.target else "target"
    spans = ("a whole run", f"to {target}", "a million images")
    head = ["mode", "cores", "GPUs", *(f"{kind}-hours, {span}" for kind in ("core", "GPU") for span in spans)]
    head += ["energy of GPUs (Wh)", "energy of processors (Wh)"]
    costs = [
        (runs, found)
        for runs in comparison.modes
        if runs.mode.kind != "serial" and (found := cost_of(runs, comparison.target))
    ]
    body = [cost_row(comparison, runs, found) for runs, found in costs]
    return Table("Cost", head, body, [COST_NOTE, *energy_notes([runs for runs, _ in costs if runs.whole])])


def cost_row(comparison: Comparison, runs: ModeRuns, cost: ModeCost) -> list[str]:
    spans = (cost.whole, cost.to_target, cost.per_million)
    hours = [cost.hours(seconds, kind) for kind in ("core", "GPU") for seconds in spans]
    joules = [energy_of(runs, device)[0] for device in ("gpu", "cpu")]
    return [
        comparison.name(runs),
        str(cost.devices.cores),
        str(cost.devices.gpus) if cost.devices.gpus else NONE,
        *(NONE if each is None else hours_text(each) for each in hours),
        *(NONE if each is None else number(each / WATT_HOUR) for each in joules),
    ]


def hours_text(hours: float) -> str:
    """Three digits, even for a hundredth of an hour."""
    return number(hours) if hours >= 1 else f"{hours:.3g}"


def energy_notes(whole: list[ModeRuns]) -> list[str]:
    """What the energy covers, or why there is none."""
    if not whole:
        return ["Energy is measured in whole runs, and there are none."]
    notes = []
    for device, name in (("gpu", "GPUs"), ("cpu", "processors")):
        reasons = {reason for runs in whole if (reason := energy_of(runs, device)[1])}
        if reasons:
            notes.append(f"No energy for {name}: {'; '.join(sorted(reasons))}.")
        else:
            notes.append(f"Energy of {name}: {ENERGY_IS[device]}.")
    return notes


ENERGY_IS = {
    "gpu": "NVML's total energy counter of the ranks' own GPUs, from the set-up of training to the end of the test",
    "cpu": "RAPL's counters of all packages of the ranks' nodes, other work included, over the same time; no memory, "
    "fans or network",
}


def marginal(comparison: Comparison) -> Table:
    head = ["from", "to", "devices", "time", "device-hours", "timed by"]
    body = [marginal_row(comparison, each) for each in marginals(comparison.modes)]
    note = (
        "What the next larger number of devices changes, each with its fastest mode. Twice the devices in half the "
        "time would cost no more; if they need more than half, each hour saved costs device-hours."
    )
    return Table("What more devices save and cost", head, body, [note])


def marginal_row(comparison: Comparison, each: Marginal) -> list[str]:
    few, many = each.devices
    return [
        comparison.name(each.smaller),
        comparison.name(each.larger),
        f"{few} to {many} {each.kind}s",
        f"{100 * (each.time - 1):+.1f}%",
        f"{100 * (each.hours - 1):+.1f}%",
        each.by,
    ]
