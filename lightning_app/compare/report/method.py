"""How a comparison was measured, and where, when and with what."""

from __future__ import annotations

from lightning_app.compare.measuring.rules import RULES
from lightning_app.compare.report.comparison import Comparison


def method(comparison: Comparison) -> list[str]:
    """One rule per sentence or two."""
    settings = comparison.content["settings"]
    counted = f"{settings['steps']} counted steps per mode in {settings['rounds']} rounds, alternating between modes"
    first = [f"{counted}, every second round in reverse order."] if settings["steps"] else []
    original = any(runs.mode.kind == "original" for runs in comparison.modes)
    steps = settings["original_steps"]
    also = [f"The original loop: {steps} counted steps, in fp32, on random images; throughput only."]
    caches = (
        "Data and weights are prepared before the first run, so every run finds them packed; the first to read them "
        "may still warm the file cache for the others."
    )
    return [*first, *RULES, caches, *(also if original else [])]


def provenance(comparison: Comparison) -> list[tuple[str, str]]:
    """(name, value) for machines, versions, revisions and dates."""
    content = comparison.content
    dates = sorted(run["date"][:10] for run in content["runs"]) or [""]
    facts = [("measured", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}")]
    for name, machine in content["machines"].items():
        versions = machine["versions"]
        gpus = ", ".join(machine["gpus"]) or "no GPU"
        facts.append((name, f"{versions.get('cpu', '?')}, {machine['cores']} of {machine['host_cores']} cores; {gpus}"))
        facts.append(("", ", ".join(f"{key} {value}" for key, value in versions.items() if key != "cpu")))
    facts.append(("git revision", ", ".join(revisions(comparison)) or "unknown"))
    launchers = sorted({f"{run['mode']}: {run['launcher']}" for run in content["runs"] if run["launcher"] != "none"})
    facts += [("started by", ", ".join(launchers))] if launchers else []
    return [*facts, ("recipe", content["recipe"])]


def revisions(comparison: Comparison) -> list[str]:
    """Revisions of the code that made the runs; a + marks uncommitted changes."""
    return sorted({run["git"] or "unknown" for run in comparison.content["runs"]})
