"""compare with ranks that are not processes of one machine: SLURM steps, and hosts with a slow link."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hosts import Hosts
from predicted_steps import check

from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.soak]

REPOSITORY = Path(__file__).parents[2]
FIT = "--config configs/quickstart.yaml --data.image_size 32 --model.backbone shufflenet_v2_x0_5 --model.dropout null"
TIMEOUT_S = 280


def test_in_an_allocation_every_run_is_a_job_step(slurm: Slurm, tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m lightning_app compare {FIT} --modes cpu:1 ddp:2 --steps 30 --rounds 1"
    script = f"PYTHONPATH='{REPOSITORY}' {command} --to '{tmp_path}' --data.cache_dir '{tmp_path}/packed'"
    shape = ["--nodes=2", "--ntasks=2", "--cpus-per-task=1"]
    job = slurm.run("sbatch", "--wait", *shape, f"--output={tmp_path}/job.txt", f"--wrap={script}", timeout=TIMEOUT_S)
    assert job.returncode == 0, (tmp_path / "job.txt").read_text()
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [(run["mode"], run["launcher"], run["failed"]) for run in runs] == [
        ("cpu:1", "srun", None),
        ("ddp:2", "srun", None),
        ("serial:2", "srun", None),
        ("ddp:2", "srun", None),
    ]
    ranks = next(run for run in runs if run["mode"] == "ddp:2" and run["part"] == "steps")["ranks"]
    assert [(rank["launcher"], rank["rank"], len(rank["steps"])) for rank in ranks] == [
        ("slurm", 0, 30),
        ("slurm", 1, 30),
    ]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two ranks want two cores")
def test_a_step_over_a_slow_link_is_predicted_within_15_percent(
    hosts: Hosts, openmpi5: list[str], tmp_path: Path
) -> None:
    (found,) = check(hosts, openmpi5, (2,), 300, tmp_path / "300")
    assert abs(found.error) <= 0.15, found
