"""Which runs a comparison consists of, in which order, and the commands for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_app.compare.trials.commands import Launchers
from lightning_app.compare.trials.modes import Mode
from lightning_app.compare.trials.trial import Trial, fit_command

MEASURE = "lightning_app.compare.measuring.measure.Measure"
# Speed only: the requested number of steps, no evaluation, no checkpoint except the last.
STEPS_ONLY = (
    *("--trainer.max_epochs", "100000", "--trainer.limit_val_batches", "0", "--trainer.limit_test_batches", "0"),
    *("--checkpoint.every_n_steps", "1000000", "--checkpoint.every_n_minutes", "1000000"),
)


@dataclass(frozen=True)
class Settings:
    """How steps are counted: the same for everything in one results.json.

    Attributes:
        steps: per mode over all rounds; 0 means none.
        rounds: into which they are divided.
        original_steps: the same for the original loop.
    """

    steps: int
    rounds: int
    original_steps: int

    @property
    def steps_a_round(self) -> int:
        """Counted steps of one run."""
        return -(-self.steps // self.rounds)


@dataclass(frozen=True)
class Recipe:
    """What every mode runs.

    Attributes:
        options: of fit.
        batch_size: the global batch.
        image_size: side in pixels.
        folder: of the comparison.
    """

    options: Sequence[str]
    batch_size: int
    image_size: int
    folder: Path


def schedule(
    modes: Sequence[Mode], settings: Settings, seeds: int, recipe: Recipe, launchers: Launchers
) -> list[Trial]:
    """All runs: first rounds of counted steps, alternating modes, so that a slow hour slows all; then whole runs.

    Every second round and seed runs in reverse order, so that no mode is always first, and a drift within a round
    cancels.
    """
    trials = []
    for number in range(settings.rounds if settings.steps else 0):
        turn = in_turn(with_ceilings(modes), number)
        trials += [steps_trial(mode, number, settings, recipe, launchers) for mode in turn]
        trials += [
            all_reduce_trial(mode, recipe, launchers) for mode in modes if number == 0 and exchanges_gradients(mode)
        ]
    whole = [mode for mode in modes if mode.kind in ("cpu", "gpu", "ddp") and not mode.weak]
    for seed in range(seeds):
        trials += [whole_trial(mode, seed, recipe, launchers) for mode in in_turn(whole, seed)]
    return trials


def in_turn(modes: Sequence[Mode], number: int) -> Sequence[Mode]:
    return modes[::-1] if number % 2 else modes


def with_ceilings(modes: Sequence[Mode]) -> list[Mode]:
    """After each ddp mode, equally many serial processes at once; only once for modes with the same number of ranks."""
    found = []
    for mode in modes:
        found += [mode, Mode("serial", mode.count)] if exchanges_gradients(mode) else [mode]
    return list(dict.fromkeys(found))


def steps_trial(mode: Mode, number: int, settings: Settings, recipe: Recipe, launchers: Launchers) -> Trial:
    """Some counted steps of a mode."""
    folder = recipe.folder / "runs" / f"steps-{mode.name.replace(':', '-')}-{number}"
    if mode.kind == "original":
        return Trial(mode, "steps", number, [original_command(settings, recipe)], folder)
    commands = []
    for index in range(mode.count if mode.kind == "serial" else 1):
        own = folder / str(index) if mode.kind == "serial" else folder
        together = mode.count if mode.kind == "serial" else 1
        measure = measuring(own, steps=settings.steps_a_round, together=together)
        options = [*recipe.options, *strategy(mode, launchers), *measure, *STEPS_ONLY]
        batch_size = recipe.batch_size * (mode.count if mode.weak else 1)
        options += ["--data.batch_size", str(batch_size), *placed(own)]
        commands.append(fit_command(launchers.launch_command(mode), options))
    return Trial(mode, "steps", number, commands, folder)


def exchanges_gradients(mode: Mode) -> bool:
    """Whether the link between a mode's ranks is measured."""
    return mode.kind == "ddp" and not mode.weak


def all_reduce_trial(mode: Mode, recipe: Recipe, launchers: Launchers) -> Trial:
    """All-reduces of many sizes between a mode's ranks."""
    folder = recipe.folder / "runs" / f"all-reduce-{mode.name.replace(':', '-')}"
    command = [
        *launchers.all_reduce_command(mode),
        "-m",
        "lightning_app.compare.measuring.all_reduce_timing",
        str(folder.resolve()),
    ]
    return Trial(mode, "all_reduce", 0, [command], folder)


def whole_trial(mode: Mode, seed: int, recipe: Recipe, launchers: Launchers) -> Trial:
    """The recipe from its start to its final test."""
    folder = recipe.folder / "runs" / f"whole-{mode.name.replace(':', '-')}-seed{seed}"
    options = [*recipe.options, *strategy(mode, launchers), *measuring(folder), "--seed_everything", str(seed)]
    command = fit_command(launchers.launch_command(mode), [*options, *placed(folder)])
    return Trial(mode, "whole", seed, [command], folder)


def strategy(mode: Mode, launchers: Launchers) -> list[str]:
    """The one flag, and devices if Lightning starts the ranks."""
    name = {"serial": "cpu", "cpu": "cpu", "gpu": "gpu", "ddp": "ddp"}[mode.kind]
    local = mode.kind == "ddp" and not launchers.launch_command(mode)
    return ["--trainer.strategy", name, *(["--trainer.devices", str(mode.count)] if local else [])]


def measuring(folder: Path, **arguments: int) -> list[str]:
    """The callback, as an option."""
    callback = {"class_path": MEASURE, "init_args": {"folder": str(folder.resolve()), **arguments}}
    return [f"--trainer.callbacks+={json.dumps(callback)}"]


def placed(folder: Path) -> list[str]:
    """Where the run's own files go; it always starts fresh, because only then are its times complete."""
    return ["--runs_dir", str(folder), "--name", "run", "--resume", "never"]


def original_command(settings: Settings, recipe: Recipe) -> list[str]:
    """The plain loop of `make bench`."""
    steps = -(-settings.original_steps // settings.rounds)
    shape = ["--batch_size", str(recipe.batch_size), "--image_size", str(recipe.image_size)]
    return [sys.executable, "-m", "lightning_app.bench.contestants.original_loop", "--steps", str(steps), *shape]
