"""Which runs there are: the same recipe in each, alternating between modes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from lightning_app.compare.trials.commands import Launchers
from lightning_app.compare.trials.modes import Mode, mode_from_name
from lightning_app.compare.trials.rounds import Recipe, Settings, schedule
from lightning_app.compare.trials.trial import Trial

OPTIONS = ["--config", "configs/cifar10.yaml", "--data.image_size", "96"]
MODES = [mode_from_name(name) for name in ("original", "cpu:1", "ddp:2", "ddp:2-weak")]
LOCAL = Launchers(None, open_mpi=False, srun=None, cores=2)
MPI = Launchers("mpirun", open_mpi=True, srun=None, cores=2)
SLURM = Launchers("mpirun", open_mpi=True, srun="srun", cores=4)


def planned(folder: Path, launchers: Launchers = MPI, seeds: int = 2) -> list[Trial]:
    recipe = Recipe(OPTIONS, batch_size=64, image_size=96, folder=folder)
    return schedule(MODES, Settings(steps=31, rounds=3, original_steps=9), seeds, recipe, launchers)


def option(command: list[str], name: str) -> str:
    """The last value of an option, which is the one that counts."""
    return command[len(command) - command[::-1].index(name)]


def callback(command: list[str]) -> dict[str, int]:
    (text,) = [word.partition("=")[2] for word in command if word.startswith("--trainer.callbacks+=")]
    return json.loads(text)["init_args"]


def test_modes_take_turns_forward_and_backward_each_with_its_ceiling_and_whole_runs_come_last(tmp_path: Path) -> None:
    turn = ["original", "cpu:1", "ddp:2", "serial:2", "ddp:2-weak"]
    assert [trial.mode.name for trial in planned(tmp_path) if trial.part == "steps"] == [*turn, *turn[::-1], *turn]
    assert [trial.key for trial in planned(tmp_path)[-4:]] == [
        ("whole", "cpu:1", 0),
        ("whole", "ddp:2", 0),
        ("whole", "ddp:2", 1),
        ("whole", "cpu:1", 1),
    ]
    assert Counter(trial.part for trial in planned(tmp_path))["all_reduce"] == 1


def test_no_two_runs_have_one_key_or_one_folder(tmp_path: Path) -> None:
    trials = planned(tmp_path)
    assert len({trial.key for trial in trials}) == len({trial.folder for trial in trials}) == len(trials)


@pytest.mark.parametrize("launchers", [LOCAL, MPI, SLURM])
def test_every_mode_runs_the_same_recipe(launchers: Launchers, tmp_path: Path) -> None:
    for trial in planned(tmp_path, launchers):
        for command in trial.commands if trial.mode.kind != "original" and trial.part != "all_reduce" else []:
            fit = command[command.index("fit") + 1 :]
            assert fit[: len(OPTIONS)] == OPTIONS
            assert option(command, "--resume") == "never"
            assert trial.folder in (own := Path(option(command, "--runs_dir")), own.parent)
            expected = "128" if trial.mode.weak else "64"
            assert trial.part == "whole" or option(command, "--data.batch_size") == expected


def test_whole_runs_change_nothing_but_mode_seed_and_place(tmp_path: Path) -> None:
    cpu, ddp = (trial.commands[0] for trial in planned(tmp_path, seeds=1)[-2:])
    allowed = {"--trainer.strategy", "--seed_everything", "--runs_dir", "--name", "--resume"}
    for command in (cpu, ddp):
        added = command[command.index("fit") + 1 + len(OPTIONS) :]
        assert {word for word in added if word.startswith("--")} - allowed == {added[2]}
        assert callback(command).keys() == {"folder"}
    assert option(cpu, "--seed_everything") == option(ddp, "--seed_everything") == "0"


def test_the_steps_of_all_rounds_are_at_least_those_asked_for(tmp_path: Path) -> None:
    trials = [trial for trial in planned(tmp_path) if trial.part == "steps" and trial.mode == Mode("cpu", 1)]
    assert sum(callback(trial.commands[0])["steps"] for trial in trials) == 33


def test_the_processes_of_a_ceiling_wait_for_each_other_in_folders_of_their_own(tmp_path: Path) -> None:
    trial = next(trial for trial in planned(tmp_path) if trial.mode.kind == "serial")
    found = [callback(command) for command in trial.commands]
    assert [each["together"] for each in found] == [2, 2]
    assert len({each["folder"] for each in found}) == 2


@pytest.mark.parametrize(
    ("launchers", "mode", "words"),
    [
        (LOCAL, "ddp:2", []),
        (MPI, "cpu:1", []),
        (MPI, "ddp:2", ["mpirun", "-np", "2", "--bind-to", "none"]),
        (MPI, "ddp:4", ["mpirun", "-np", "4", "--bind-to", "none", "--oversubscribe"]),
        (SLURM, "ddp:2", ["srun", "--overlap", "--ntasks=2", "--cpus-per-task=2"]),
        (SLURM, "ddp:2@1", ["srun", "--overlap", "--nodes=1", "--ntasks=2", "--cpus-per-task=2"]),
        (SLURM, "cpu:1", ["srun", "--overlap", "--ntasks=1", "--cpus-per-task=1"]),
        (SLURM, "serial:4", ["srun", "--overlap", "--ntasks=1", "--cpus-per-task=1"]),
    ],
)
def test_ranks_are_started_by_the_launcher_that_is_there(launchers: Launchers, mode: str, words: list[str]) -> None:
    found = launchers.launch_command(mode_from_name(mode))
    assert [word for word in found if word != "--allow-run-as-root"] == words


def test_without_an_mpirun_lightning_starts_the_ranks_and_torchrun_those_that_time_all_reduces(tmp_path: Path) -> None:
    ddp = next(trial for trial in planned(tmp_path, LOCAL) if trial.mode == Mode("ddp", 2))
    assert ddp.commands[0][0] == sys.executable
    assert option(ddp.commands[0], "--trainer.devices") == "2"
    assert "torch.distributed.run" in LOCAL.all_reduce_command(Mode("ddp", 2))


@pytest.mark.parametrize("launchers", [LOCAL, MPI])
def test_the_link_between_ranks_is_timed_by_a_program_under_their_launcher(
    launchers: Launchers, tmp_path: Path
) -> None:
    [trial] = [trial for trial in planned(tmp_path, launchers) if trial.part == "all_reduce"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    before = [*MPI.launch_command(trial.mode), sys.executable] if launchers is MPI else torchrun
    program = ["-m", "lightning_app.compare.measuring.all_reduce_timing", str(trial.folder)]
    assert trial.commands == [[*before, *program]]


@pytest.mark.parametrize(
    ("launchers", "names"),
    [(LOCAL, ["none", "Lightning", "none"]), (MPI, ["none", "mpirun", "none"]), (SLURM, ["srun", "srun", "srun"])],
)
def test_a_report_names_what_started_a_run(launchers: Launchers, names: list[str]) -> None:
    assert [launchers.name(mode_from_name(name)) for name in ("cpu:1", "ddp:2", "serial:2")] == names
