"""What the reports say, as tables of words that both markdown and HTML are made of."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_app.compare.analysis.mode_runs import ModeRuns, modes_of
from lightning_app.compare.analysis.predicted_modes import Predicted, outlooks
from lightning_app.compare.analysis.significance import LEAST_SEEDS, Verdict
from lightning_app.compare.analysis.speedup import scaling
from lightning_app.compare.analysis.whole_runs import WALL_TIME_PARTS, common_target, median_parts, times_to_accuracy
from lightning_app.compare.report.formatting import NONE, duration, gigabytes, number, percent, processes, share, spread
from lightning_app.compare.trials.rules import RULES

SEVERAL = 2


@dataclass(frozen=True)
class Table:
    """A table and what to know of it.

    Attributes:
        title: of its section.
        head: names of the columns.
        body: the rows; a row of two cells is a mode and why it has no numbers.
        notes: sentences below it.
    """

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def compact(self) -> Table:
        """Without the columns that say nothing."""
        full = [row for row in self.body if len(row) == len(self.head)]
        kept = [index for index in range(len(self.head)) if any(row[index] != NONE for row in full)]
        head = [self.head[index] for index in kept]
        body = [[row[index] for index in kept] if len(row) == len(self.head) else row for row in self.body]
        return Table(self.title, head, body, self.notes)


@dataclass(frozen=True)
class Findings:
    """A comparison, ready to be told.

    Attributes:
        content: of results.json.
        rows: its modes.
        target: the accuracy that time to accuracy is of.
        named: whether the user named it.
    """

    content: dict[str, Any]
    rows: Sequence[ModeRuns]
    target: float | None
    named: bool

    @classmethod
    def of(cls, content: dict[str, Any], target: float | None) -> Findings:
        """All that follows from a results.json."""
        found = modes_of(content)
        return cls(content, found, target or common_target(found), target is not None)

    @property
    def several_machines(self) -> bool:
        """Whether rows have to say where they were measured."""
        return len(self.content["machines"]) >= SEVERAL

    def name(self, row: ModeRuns) -> str:
        """Of a row."""
        return f"{row.mode.name} @ {row.machine}" if self.several_machines else row.mode.name

    @property
    def title(self) -> str:
        """What is compared: backbone, data, side of the pictures."""
        options = self.content["options"]
        return f"{options['model.backbone']} on {options['data.dataset']} at {self._sides}: what each mode buys"

    @property
    def _sides(self) -> str:
        """Whole runs may have one for each epoch; counted steps have the first of them."""
        first, sides = self.content["image_size"], self.content["options"].get("data.image_size")
        if not isinstance(sides, list) or set(sides) == {first} or not any(row.whole for row in self.rows):
            return f"{first}"
        return f"{first} (whole runs: {', '.join(str(side) for side in sides)})"

    @property
    def baseline(self) -> str:
        """What speed-ups are over, as baseline_of() has it."""
        if self.several_machines:
            return "the first mode of its machine"
        return next((row.mode.name for row in self.rows if row.steps), NONE)


def tables(found: Findings) -> list[Table]:
    """All that have something to say."""
    made = [throughput(found), accuracy(found), walls(found), beyond(found)]
    return [table.compact() for table in made if table.body]


def throughput(found: Findings) -> Table:
    """Speed of a step, and what it is made of."""
    head = ["mode", "processes x threads", "started by", "images/s", "step (ms)", "speed-up", "efficiency"]
    head += ["of the ceiling", "data path", "communication", "memory (host)", "memory (GPU)"]
    body = [throughput_row(found, row) for row in found.rows if row.steps or row.reason or not row.whole]
    if not any(row.steps for row in found.rows):
        return Table("Speed", head, [])
    notes = [
        "images/s and step: median over the counted steps (quartiles). Ratios: median over the rounds (range), each "
        f"within one round and one machine. Speed-up is over {found.baseline}; "
        "efficiency is over one process with as many threads (or the one GPU), divided by the ranks.",
    ]
    return Table("Speed", head, body, notes + ceiling_notes(found))


def ceiling_notes(found: Findings) -> list[str]:
    """What the ceiling is, where there is one."""
    if not any(row.mode.kind == "serial" and row.steps for row in found.rows):
        return []
    return [
        "serial:N is N independent serial runs at once, each with the threads of a rank of ddp:N and the whole batch: "
        "the ceiling of ddp:N on this one machine, whose cores share memory and clock."
    ]


def throughput_row(found: Findings, row: ModeRuns) -> list[str]:
    """One mode's cells."""
    if not row.steps or row.any_run is None:
        return [found.name(row), f"not run: {row.reason or 'no counted steps were asked for'}"]
    scale = scaling(row, found.rows)
    return [
        found.name(row),
        processes(row),
        row.any_run["launcher"],
        spread(row.images_per_second),
        number(1000 * statistics.median(row.step_times)),
        spread(scale.speedup, 2),
        spread(scale.efficiency, 2),
        spread(scale.of_ceiling, 3),
        share(row.data_share),
        percent(row.communication_share, 1),
        gigabytes(row.peak_memory("host_memory")),
        gigabytes(row.peak_memory("gpu_memory")),
    ]


def accuracy(found: Findings) -> Table:
    """What whole runs reached, and when."""
    whole = [row for row in found.rows if row.whole]
    head = ["mode", "seeds", "test accuracy (95%)", "images right", "over seeds", "against the first", "wall time"]
    head += [f"time to {percent_of(found.target)}", "images/s"]
    if not whole:
        return Table("Whole runs", head, [])
    others = [row for row in found.rows if row.reason and not row.whole]
    body = [accuracy_row(found, row, whole[0]) for row in whole]
    body += [[found.name(row), f"not run: {row.reason}"] for row in others]
    why = "named by --target" if found.named else "the best validation that every run reached"
    notes = [
        "Test accuracy is over all test images of all seeds, with Wilson's 95% interval. Against the first: a test for "
        "two proportions, and Welch's t-test over seeds; a difference is claimed only where both see one, and from "
        f"{LEAST_SEEDS} seeds on.",
        f"Time to accuracy runs from the start of the command to the first validation at or above the target ({why}).",
    ]
    return Table("Whole runs", head, body, notes)


def percent_of(target: float | None) -> str:
    """The target in a column's name."""
    return f"{100 * target:.2f}%" if target else "accuracy"


def accuracy_row(found: Findings, row: ModeRuns, base: ModeRuns) -> list[str]:
    """One mode's cells."""
    shares = [right / total for right, total in row.accuracies]
    times = times_to_accuracy(row, found.target) if found.target else []
    reached = [when for when in times if when is not None]
    return [
        found.name(row),
        ", ".join(str(seed) for seed in row.whole),
        percent(row.accuracy),
        ", ".join(f"{right:,} of {total:,}" for right, total in row.accuracies),
        f"{100 * min(shares):.2f} to {100 * max(shares):.2f}%" if len(shares) > 1 else NONE,
        NONE if row is base or not shares or not base.accuracies else Verdict(base.accuracies, row.accuracies).text,
        " / ".join(duration(run["seconds"]) for run in row.whole.values()),
        " / ".join(duration(when) for when in times) if reached else "not reached" if times else NONE,
        spread(row.whole_rate),
    ]


def walls(found: Findings) -> Table:
    """Where the wall time of whole runs went."""
    body = [
        [
            found.name(row),
            *(duration(seconds) for seconds in median_parts(row).values()),
            duration(row.wall_time.median),
        ]
        for row in found.rows
        if row.whole and row.wall_time
    ]
    note = "Medians over the seeds, of the first rank. Set-up: data, model, and the ranks' meeting."
    return Table("Where the time went", ("mode", *WALL_TIME_PARTS, "in all"), body, [note])


def beyond(found: Findings) -> Table:
    """Ranks that were not measured; the first row of each machine were, as a check."""
    head = ["ranks", "step (ms)", "of it waiting for gradients", "images/s", "measured (ms)"]
    body, notes = [], []
    for out in outlooks(found.rows):
        body += [predicted_row(each) for each in out.predicted]
        notes.append(
            f"From {found.name(out.row)}: its steps without communication, its buckets of gradients, and all-reduces "
            f"of 1 kB to 64 MB between its ranks: {1e6 * out.link.latency:.0f} us a round, and "
            f"{out.link.bandwidth / 1e6:,.0f} MB/s. More ranks are taken to have cores and links of their own, like "
            "these."
        )
    return Table("Predicted, not measured", head, body, notes)


def predicted_row(each: Predicted) -> list[str]:
    """One number of ranks."""
    measured = NONE if each.measured is None else number(1000 * each.measured)
    waiting = f"{share(each.waiting / each.seconds)}"
    return [str(each.ranks), number(1000 * each.seconds), waiting, number(each.images_per_second), measured]


def rules(found: Findings) -> list[str]:
    """How it was measured."""
    settings = found.content["settings"]
    counted = f"{settings['steps']} counted steps of each mode in {settings['rounds']} rounds, the modes in turn"
    first = [f"{counted}."] if settings["steps"] else []
    original = any(row.mode.kind == "original" for row in found.rows)
    also = [f"The original loop: {settings['original_steps']} counted steps, on noise; throughput only."]
    return [*first, *RULES, *(also if original else [])]


def provenance(found: Findings) -> list[tuple[str, str]]:
    """Where, when, with what, and how to do it again."""
    content = found.content
    dates = sorted(run["date"][:10] for run in content["runs"]) or [""]
    facts = [("measured", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}")]
    for name, machine in content["machines"].items():
        versions = machine["versions"]
        gpus = ", ".join(machine["gpus"]) or "no GPU"
        facts.append((name, f"{versions.get('cpu', '?')}, {machine['cores']} of {machine['host_cores']} cores; {gpus}"))
        facts.append(("", ", ".join(f"{key} {value}" for key, value in versions.items() if key != "cpu")))
    facts.append(("git revision", ", ".join(sorted({run["git"] or "unknown" for run in content["runs"]}))))
    launchers = sorted({f"{run['mode']}: {run['launcher']}" for run in content["runs"] if run["launcher"] != "none"})
    facts += [("started by", ", ".join(launchers))] if launchers else []
    facts += [("recipe", content["recipe"]), ("to repeat it", shlex.join(content["command"]))]
    return facts
