"""A run that is killed with SIGKILL at any moment and started again ends with the bits of one that was not."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from equality import curves, different_states, events, last_checkpoint
from killing import Moment, descendants, environ_of, run_until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

PARTS_IN_SOAK, KILLS_IN_A_PART = 5, 10
KINDS = ["first step", "save", "anywhere", "test", "artifact"]
TRAINING_S = 1.0  # about as long as the 24 steps and their saves take on an idle machine
SLOW_FIT = Path(__file__).with_name("slow_fit.py")
RUN = "runs/killed/version_0"
STEPS = 24
OPTIONS = {
    "--config": "configs/quickstart.yaml",
    "--name": "killed",
    "--trainer.precision": "32-true",
    "--trainer.max_epochs": "3",
    "--trainer.limit_train_batches": "8",
    "--trainer.limit_test_batches": "1",
    "--trainer.log_every_n_steps": "3",
    "--model.backbone": "shufflenet_v2_x0_5",
    "--model.dropout": "null",
    "--data.image_size": "32",
    "--checkpoint.every_n_steps": "3",  # the best, of every eighth step, waits in memory
    "--checkpoint.max_share": "1",
}


def fit(folder: Path, launcher: list[str], cache: Path) -> list[str]:
    """The command."""
    options = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(folder / "runs"), "--data.cache_dir", str(cache)]
    return [*launcher, sys.executable, "-m", "lightning_app", "fit", *options, *where]


def moment(kind: str, run: Path, draw: random.Random) -> Moment:
    """When to kill an attempt that is about to start.

    Args:
        kind: `first step`, `save`, `anywhere` in training, `test` (the final one), `artifact` (while it is written), or
            `never`.
    """
    before = len(list(run.glob("events.out.*")))
    seconds = draw.uniform(0, TRAINING_S)
    began: list[float] = []

    def training() -> bool:
        if not began and len(list(run.glob("events.out.*"))) > before:
            began.append(time.monotonic())
        return bool(began)

    if kind == "first step":
        return training
    checkpoints = run / "checkpoints"
    if kind == "save":  # but not the first one, which would leave nothing to go on from
        return lambda: training() and any(checkpoints.glob(".*.tmp")) and any(checkpoints.glob("step-*.ckpt"))
    if kind == "anywhere":
        return lambda: training() and time.monotonic() - began[0] >= seconds
    if kind == "test":  # between the last save and the end
        return lambda: training() and (checkpoints / f"step-{STEPS:08d}.ckpt").exists()
    if kind == "artifact":
        return lambda: training() and any(run.glob(".model.*.tmp"))
    assert kind == "never"
    return lambda: False


def attempt(kind: str, launcher: list[str], folder: Path, cache: Path, draw: random.Random) -> int:
    """Start the run in a folder, or resume it; returns its exit status, -9 if it was killed."""
    return run_until(fit(folder, launcher, cache), moment(kind, folder / RUN, draw), folder)


def assert_same(folder: Path, whole: Path) -> None:
    """A killed run left exactly what the other one left."""
    killed = folder / RUN
    assert "Traceback" not in (folder / "output").read_text()
    assert [path.name for path in killed.parent.iterdir()] == ["version_0"]
    assert different_states(killed, whole) == []
    assert curves(killed) == curves(whole)
    assert events(killed) == events(whole)
    assert_complete(killed)


def assert_complete(run: Path) -> None:
    """What the options ask for, so that two runs that are wrong in the same way do not pass."""
    assert last_checkpoint(run)["global_step"] == STEPS
    assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == []
    logged = {name: [int(row["step"]) for row in curves(run) if name in row] for name in ("train/loss", "val/acc")}
    assert logged == {"train/loss": list(range(2, STEPS, 3)), "val/acc": list(range(7, STEPS, 8))}


def whole_run(launcher: list[str], folder: Path, cache: Path) -> Path:
    """The run that nobody kills."""
    status = attempt("never", launcher, folder, cache, random.Random())
    assert status == 0, (folder / "output").read_text()[-4000:]
    return folder / RUN


@pytest.fixture(scope="session")
def whole_of_one(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The run of one process that nobody kills."""
    return whole_run([], tmp_path_factory.mktemp("whole"), digits)


def test_one_process_killed_in_the_first_step_in_a_save_anywhere_and_in_the_final_test(
    tmp_path: Path, whole_of_one: Path, digits: Path
) -> None:
    kinds = ["first step", "save", "anywhere", "test", "never"]
    draw = random.Random(0)
    assert [attempt(kind, [], tmp_path, digits, draw) for kind in kinds] == [-9, -9, -9, -9, 0]
    assert_same(tmp_path, whole_of_one)


def test_two_ranks_of_mpirun_killed_in_a_save(
    tmp_path: Path, two_ranks: list[str], whole_of_two: Path, digits: Path
) -> None:
    draw = random.Random(0)
    assert [attempt(kind, two_ranks, tmp_path, digits, draw) for kind in ("save", "never")] == [-9, 0]
    assert_same(tmp_path, whole_of_two)


def test_one_rank_that_is_asked_to_stop_stops_both_at_one_step(
    tmp_path: Path, two_ranks: list[str], whole_of_two: Path, digits: Path
) -> None:
    command = fit(tmp_path, two_ranks, digits)
    at = command.index("-m")
    slow = [*command[:at], str(SLOW_FIT), "0.1", "0", *command[at + 2 :]]
    mpirun = subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert mpirun.stdout is not None
    said = list(itertools.takewhile(lambda line: line != "slow step\n", mpirun.stdout))
    [second] = [pid for pid in descendants(mpirun.pid) if environ_of(pid).get("OMPI_COMM_WORLD_RANK") == "1"]
    os.kill(second, signal.SIGUSR1)
    said += mpirun.stdout
    assert mpirun.wait() == 75, "".join(said)
    assert len([line for line in said if line.startswith("stopped at step ")]) == 1
    assert attempt("never", two_ranks, tmp_path, digits, random.Random()) == 0
    assert_same(tmp_path, whole_of_two)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS_IN_SOAK))
@pytest.mark.parametrize("ranks", [1, 2])
def test_it_does_not_matter_when(
    ranks: int, part: int, tmp_path: Path, digits: Path, request: pytest.FixtureRequest
) -> None:
    launcher = [] if ranks == 1 else request.getfixturevalue("two_ranks")
    whole = request.getfixturevalue("whole_of_one" if ranks == 1 else "whole_of_two")
    draw, killed = random.Random(ranks * PARTS_IN_SOAK + part), Counter[str]()
    while killed.total() < KILLS_IN_A_PART:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for kind in [*draw.choices(KINDS, k=6), "never"]:
            if attempt(kind, launcher, folder, digits, draw) == 0:
                break  # at the latest the last; earlier, if no save is left to be killed in
            killed[kind] += 1
        assert_same(folder, whole)
    print(f"killed {killed.total()} times: {dict(killed)}")
