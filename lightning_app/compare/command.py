"""compare: run the modes side by side, and write results.json, report.md and report.html."""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lightning_app.cli.config_files import resolve_configs
from lightning_app.compare.analysis.mode_runs import rate
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.html import render_html
from lightning_app.compare.report.markdown import render_markdown
from lightning_app.compare.trials.commands import Launchers, find_launchers
from lightning_app.compare.trials.modes import EXPECTED, Mode, parse_mode, why_unavailable
from lightning_app.compare.trials.recorded import FILE, Results, read
from lightning_app.compare.trials.rounds import Recipe, Settings, schedule
from lightning_app.compare.trials.trial import STOPPED_BY, Trial, run_trial
from lightning_app.errors import UsageError
from lightning_app.files import DISK_ERRORS, output, replace_file, try_folder
from lightning_app.trainer.machine import Machine

LEAST_STEPS, LEAST_ORIGINAL_STEPS = 30, 2
DESCRIPTION = """\
Run a recipe in several modes, each in its own processes, and report what each one buys and costs: images/s,
speed-up, efficiency, time to accuracy, test accuracy with its interval, core-hours and GPU-hours. All other options are
those of fit. The same command continues an interrupted comparison."""


def compare(args: list[str]) -> None:
    """Measure what is missing, then report on all there is."""
    options, fit = parse(args)
    fit = resolve_configs(fit)
    folder: Path = options.to or Path("runs/comparisons") / config_name(fit)
    for other in options.merge:
        read(other)  # a missing file is refused now; whether it fits is known once the recipe is
    for number in STOPPED_BY:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup does that to SIGHUP
            signal.signal(number, stop)
    with output("--to", folder):
        try_folder(folder)
    with output("--to", folder, DISK_ERRORS):
        failed = run_comparison(folder, options, fit, ["python", "-m", "lightning_app", "compare", *args])
    if failed:
        sys.exit(f"error: {failed} runs failed; the same command tries them again.")


def run_comparison(folder: Path, options: argparse.Namespace, fit: Sequence[str], command: list[str]) -> int:
    """Make the missing runs and the report; returns how many runs failed."""
    launchers = find_launchers()
    facts = read_facts(folder, fit, launchers)
    settings = Settings(options.steps, options.rounds, options.original_steps)
    results = Results.begin(folder / FILE, facts, vars(settings), command)
    for other in options.merge:
        results.merge(other)
    modes = available_modes(requested_modes(options), facts["machine"], launchers, results)
    recipe = Recipe(fit, facts["batch_size"], facts["image_size"], folder)
    trials = schedule(modes, settings, options.seeds, recipe, launchers)
    failed = run_missing(trials, launchers, facts["machine"], results)
    results.save()
    report(results, options)
    return failed


def parse(args: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fit."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app compare",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--modes", nargs="+", required=True, help=EXPECTED)
    parser.add_argument(
        "--steps", type=int, help="counted steps per mode (default: 30); if given, whole runs only with --seeds"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds to divide the steps into, alternating between modes (default: 3)"
    )
    parser.add_argument("--seeds", type=int, help="whole runs per mode (default: 1, or 0 with --steps)")
    parser.add_argument("--target", type=float, help="validation accuracy for time to accuracy, such as 0.9")
    parser.add_argument("--against", choices=["original"], help="the plain loop of `bench` as the baseline")
    parser.add_argument("--original_steps", type=int, default=9, help="counted steps of that loop (default: 9)")
    parser.add_argument("--weak", action="store_true", help="also run ddp with a full batch per rank")
    parser.add_argument("--table", choices=["original"], help="start with a table in the original study's format")
    parser.add_argument("--to", type=Path, help="folder of the comparison (default: runs/comparisons/<config>)")
    parser.add_argument("--merge", type=Path, nargs="+", default=[], help="results.json of other machines")
    options, fit = parser.parse_known_args(args)
    if options.steps is None:
        options.steps, options.seeds = LEAST_STEPS, 1 if options.seeds is None else options.seeds
    options.seeds = options.seeds or 0
    if 0 < options.steps < LEAST_STEPS or options.steps < 0:
        raise UsageError(f"--steps is {options.steps}; expected {LEAST_STEPS} or more, or 0 to leave that part out.")
    if options.rounds < 1 or options.original_steps < LEAST_ORIGINAL_STEPS or options.seeds < 0:
        raise UsageError("--rounds has to be 1 or more, --original_steps 2 or more, --seeds 0 or more.")
    return options, fit


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Exit by an exception, so that the runs are ended too; further signals do not interrupt that."""
    for other in STOPPED_BY:
        signal.signal(other, signal.SIG_IGN)
    print("interrupted; the same command continues from here", file=sys.stderr)
    sys.exit(128 + number)


def config_name(fit: Sequence[str]) -> str:
    """The name of the first config."""
    configs = [value for option, value in itertools.pairwise(fit) if option == "--config"]
    configs += [option.removeprefix("--config=") for option in fit if option.startswith("--config=")]
    return Path(configs[0]).stem if configs else "fit"


def read_facts(folder: Path, fit: Sequence[str], launchers: Launchers) -> dict[str, Any]:
    """Prepare data and weights in a separate process, and read the facts about recipe and machine that it writes.

    Raises:
        UsageError: a fit with these options would fail at once.
    """
    file = folder / "facts.json"
    words = launchers.launch_command(Mode("cpu", 0))
    command = [*words, sys.executable, "-m", "lightning_app.compare.trials.environment_facts", str(file), *fit]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise UsageError("a fit with these options would fail at once; its message is above.")
    facts = json.loads(file.read_text())
    file.unlink()
    return facts


def requested_modes(options: argparse.Namespace) -> list[Mode]:
    """The modes in their order, the baseline first."""
    modes = list(dict.fromkeys(parse_mode(text) for text in options.modes))
    weak = [replace(mode, weak=True) for mode in modes if mode.kind == "ddp" and options.weak]
    return [*([Mode("original")] if options.against else []), *modes, *weak]


def available_modes(modes: Sequence[Mode], facts: dict[str, Any], launchers: Launchers, results: Results) -> list[Mode]:
    """The modes that this machine can run; the others are recorded with the reason."""
    machine = Machine(facts["cores"], facts["cpu_bf16"], tuple(facts["gpus"]), facts["gpu_bf16"])
    found = []
    for mode in modes:
        reason = why_unavailable(mode, machine, bool(launchers.launch_command(mode)), launchers.nodes)
        if reason:
            row = {"mode": mode.name, "machine": facts["host"], "reason": reason}
            results.content["unavailable"].append(row)
            print(f"{mode.name}: cannot run here: {reason}", flush=True)
        else:
            found.append(mode)
    results.save()
    return found


def run_missing(trials: Sequence[Trial], launchers: Launchers, machine: dict[str, Any], results: Results) -> int:
    """Make the runs that are missing; returns how many failed."""
    missing = [trial for trial in trials if not results.has(machine["host"], trial.key)]
    failed = 0
    for number, trial in enumerate(missing, start=1):
        run = run_trial(trial, launchers, machine)
        results.add(run)
        failed += bool(run["failed"])
        speed = f"{rate(run):.1f} images/s, " if trial.part == "steps" and not run["failed"] else ""
        said = run["failed"] or f"{speed}{run['seconds']:.0f} s"
        print(f"{number}/{len(missing)} {trial.part} {trial.mode.name} {trial.number}: {said}", flush=True)
    return failed


def report(results: Results, options: argparse.Namespace) -> None:
    """Write the pages, and print the short one."""
    comparison = Comparison.of(results.content, options.target, options.table == "original")
    folder = results.path.parent
    replace_file(folder / "report.md", (text := render_markdown(comparison)).encode())
    replace_file(folder / "report.html", render_html(comparison).encode())
    print(f"{text}\nThe same in {folder / 'report.html'}", flush=True)
