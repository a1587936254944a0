"""The SLURM that the other tests depend on."""

from __future__ import annotations

import subprocess

import pytest

from slurm import CPUS_PER_NODE, NODES, Slurm, cancel_jobs

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]  # two SLURMs on one host number their jobs alike


def test_a_step_of_two_nodes_runs_one_task_on_each(slurm: Slurm) -> None:
    step = slurm.run("srun", "--nodes=2", "--ntasks=2", "sh", "-c", "echo $SLURMD_NODENAME")
    assert step.returncode == 0, step.stderr
    assert sorted(step.stdout.split()) == ["n1", "n2"]


def test_uneven_tasks_are_placed_two_and_one(slurm: Slurm) -> None:
    step = slurm.run("srun", "--nodes=2", "--ntasks=3", "sh", "-c", "echo $SLURM_PROCID $SLURM_STEP_TASKS_PER_NODE")
    assert step.returncode == 0, step.stderr
    assert sorted(step.stdout.splitlines()) == ["0 2,1", "1 2,1", "2 2,1"]


def test_a_batch_job_runs_to_its_end(slurm: Slurm) -> None:
    job = slurm.run("sbatch", "--wait", "--output=/dev/null", "--wrap=exit 3")
    assert job.returncode == 3, job.stderr


def test_a_job_that_hangs_gives_its_cpus_to_the_next_test(slurm: Slurm) -> None:
    all_cpus = f"--ntasks={len(NODES) * CPUS_PER_NODE}"
    deaf = "trap '' TERM; sleep 600 & wait"
    assert slurm.run("sbatch", all_cpus, "--output=/dev/null", f"--wrap={deaf}").returncode == 0
    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("srun", all_cpus, "true", timeout=3)
    cancel_jobs(slurm)
    assert slurm.run("srun", all_cpus, "true", timeout=20).returncode == 0
