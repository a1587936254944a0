"""Real SLURM jobs that are asked to stop: they save, are requeued, and end as if nothing had happened."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from equality import curves, different_states, events
from time_limits import limit

from lightning_app.checkpointing.run_record import read_record
from slurm import Slurm, cancel_jobs

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(1800)]

SLOW_FIT = Path(__file__).with_name("slow_fit.py")
ARRAY_PROGRAM = Path(__file__).with_name("array_program.py")
RUN = "runs/preempted/version_0"
DEADLINE_S = 600  # on a busy machine, where a job with a short limit may need many attempts
OPTIONS = {
    "--config": "configs/quickstart.yaml",
    "--name": "preempted",
    "--trainer.precision": "32-true",
    "--trainer.max_epochs": "2",
    "--trainer.limit_train_batches": "40",
    "--trainer.limit_test_batches": "3",
    "--data.eval_batch_size": "60",
    "--trainer.log_every_n_steps": "5",
    "--model.backbone": "shufflenet_v2_x0_5",
    "--model.dropout": "null",
    "--data.image_size": "32",
}
STEPS = 80


def fit(folder: Path, cache: Path, seconds_per_step: float, seconds_of_test: float = 0) -> list[str]:
    """The command of one rank."""
    options = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(folder / "runs"), "--data.cache_dir", str(cache)]
    return [sys.executable, str(SLOW_FIT), str(seconds_per_step), str(seconds_of_test), "fit", *options, *where]


class Job:
    """A batch job of two ranks on two nodes.

    Args:
        options: of sbatch.
    """

    def __init__(self, slurm: Slurm, folder: Path, command: list[str], *options: str) -> None:
        self.slurm, self.folder, self.output = slurm, folder, folder / "output"
        script = folder / "job.sh"
        script.write_text(f"#!/bin/sh\nexec srun --kill-on-bad-exit=1 {shlex.join(command)}\n")
        submitted = slurm.run(
            "sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--requeue", f"--output={self.output}",
            "--open-mode=append", *options, script,
        )  # fmt: skip
        assert submitted.returncode == 0, submitted.stderr
        self.id = submitted.stdout.strip()

    def show(self, name: str) -> str:
        """A field of scontrol show job."""
        shown = self.slurm.run("scontrol", "show", "job", "-o", self.id).stdout
        return dict(field.partition("=")[::2] for field in shown.split()).get(name, "")

    def said(self, what: str) -> bool:
        """Whether the output has it."""
        return self.output.exists() and what in self.output.read_text()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until something is so."""
        deadline = time.monotonic() + limit(DEADLINE_S)
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.output.read_text()[-4000:]}"
            time.sleep(0.2)

    def finish(self) -> str:
        """Wait for the end, and return the output."""
        self.wait(lambda: self.show("JobState") in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"), "the end")
        assert self.show("JobState") == "COMPLETED", self.output.read_text()[-4000:]
        return self.output.read_text()


@pytest.fixture(scope="session")
def whole(slurm_cluster: Slurm, tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    try:
        Job(slurm_cluster, folder, fit(folder, digits, 0)).finish()
    finally:
        cancel_jobs(slurm_cluster)
    return folder / RUN


def assert_same(folder: Path, whole: Path) -> None:
    """The bits of the run that was not stopped, in one folder."""
    assert [path.name for path in (folder / RUN).parent.iterdir()] == ["version_0"]
    assert different_states(folder / RUN, whole) == []
    assert curves(folder / RUN) == curves(whole)
    assert events(folder / RUN) == events(whole)


def test_a_job_that_gets_sigterm_goes_back_into_the_queue(
    slurm: Slurm, whole: Path, digits: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, fit(tmp_path, digits, 0.2))
    job.wait((tmp_path / RUN / "metrics.csv").exists, "the first logged step")
    assert slurm.run("scancel", "--signal=TERM", job.id).returncode == 0
    output = job.finish()
    assert output.count("(SIGTERM); the newest checkpoint is ") == 1
    assert output.count(f"job {job.id} is back in the queue") == 1
    assert job.show("Restarts") == "1"
    assert_same(tmp_path, whole)


@pytest.mark.soak  # SLURM counts time limits in minutes
def test_a_job_that_reaches_its_time_limit_is_warned_and_goes_on_in_the_next(
    slurm: Slurm, whole: Path, digits: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, fit(tmp_path, digits, 0.5), "--time=1", "--signal=USR1@15")
    output = job.finish()
    assert "(SIGUSR1); the newest checkpoint is " in output
    assert "Traceback" not in output
    assert_same(tmp_path, whole)


@pytest.mark.soak
def test_a_job_without_a_signal_stops_in_time_by_itself(
    slurm: Slurm, whole: Path, digits: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, fit(tmp_path, digits, 0.9), "--time=1")
    assert "(the job's time limit is near); the newest checkpoint is " in job.finish()
    assert_same(tmp_path, whole)


@pytest.mark.soak
@pytest.mark.parametrize("why", ["signal", "time limit"])
def test_a_job_that_is_asked_to_stop_in_the_final_test_does_it_at_its_next_start(
    why: str, slurm: Slurm, whole: Path, digits: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, fit(tmp_path, digits, 0, seconds_of_test=15), *["--time=1"] * (why == "time limit"))
    if why == "signal":
        job.wait(lambda: job.said("slow test"), "the final test")
        assert slurm.run("scancel", "--signal=USR1", job.id).returncode == 0
    job.wait(lambda: job.said("is back in the queue"), "the requeueing")
    assert slurm.run("scontrol", "update", f"JobId={job.id}", "TimeLimit=10").returncode == 0
    output = job.finish()
    assert output.count("asked to stop during the final test") == 1
    assert output.count("slow step") == 2 * STEPS
    record = read_record(tmp_path / RUN)
    assert record
    assert record.finished
    assert_same(tmp_path, whole)


@pytest.mark.soak
def test_a_job_that_is_requeued_by_hand_goes_on(slurm: Slurm, whole: Path, digits: Path, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, [*fit(tmp_path, digits, 0.2), "--checkpoint.every_n_steps=5"])
    job.wait(lambda: any((tmp_path / RUN / "checkpoints").glob("step-*.ckpt")), "a checkpoint")
    assert slurm.run("scontrol", "requeue", job.id).returncode == 0
    assert "resuming from step" in job.finish()
    assert_same(tmp_path, whole)


@pytest.mark.soak
def test_a_job_that_is_cancelled_is_not_requeued_and_the_same_command_goes_on(
    slurm: Slurm, whole: Path, digits: Path, tmp_path: Path
) -> None:
    command = fit(tmp_path, digits, 0.2)
    job = Job(slurm, tmp_path, command)
    job.wait((tmp_path / RUN / "metrics.csv").exists, "the first logged step")
    assert slurm.run("scancel", job.id).returncode == 0
    job.wait(lambda: job.show("JobState") == "CANCELLED", "the cancellation")
    assert job.show("Restarts") == "0"
    again = Job(slurm, tmp_path, command).finish()
    assert "(SIGTERM); the newest checkpoint is " in again  # of the first job, in the same file
    assert "resuming from step" in again
    assert_same(tmp_path, whole)


def test_a_task_of_an_array_asks_for_itself_and_leaves_its_siblings_alone(slurm: Slurm, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = tmp_path / "array.sh"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(map(str, (sys.executable, ARRAY_PROGRAM, tmp_path)))}\n")
    submitted = slurm.run(
        "sbatch", "--wait", "--parsable", "--array=1-3", "--ntasks=1", "--requeue", "--time=5",
        f"--output={output}-%a", "--open-mode=append", script,
    )  # fmt: skip
    assert submitted.returncode == 0, [path.read_text() for path in tmp_path.glob("output*")]
    requeued = {path.name for path in tmp_path.glob("output-*") if "DUE TO JOB REQUEUE" in path.read_text()}
    assert requeued == {"output-3"}
    attempts = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(attempts) == {"1-0", "2-0", "3-0", "3-1"}
    assert {name: seen["shown"] for name, seen in attempts.items()} == {name: name[0] for name in attempts}
    assert all(0 < seen["left"] < 300 for seen in attempts.values())
