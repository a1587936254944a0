"""Under real launchers: every rank is in the table, the sum is right, and ranks that do not come are named."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

REPOSITORY = Path(__file__).parents[2]
DOCTOR = [sys.executable, "-m", "lightning_app", "doctor"]
LAUNCHERS = {"openmpi5": "openmpi", "openmpi4": "openmpi", "mpich": "hydra", "torchrun": "torchrun"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]


def environ() -> dict[str, str]:
    """Ours, with this checkout's packages."""
    return dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize(("launcher", "name"), LAUNCHERS.items())
def test_both_ranks_are_in_the_report_and_their_sum_is_right(
    launcher: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = TORCHRUN if launcher == "torchrun" else [*request.getfixturevalue(launcher), "-np", "2"]
    command = [*words, *DOCTOR, "--json", "--timeout", "60"]
    done = subprocess.run(command, env=environ(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert [(rank["launcher"], rank["rank"]) for rank in found["ranks"]] == [(name, 0), (name, 1)]
    assert [(each["backend"], each["right"]) for each in found["reductions"]] == [("gloo", True)]


def test_uneven_ranks_of_two_nodes_are_shown_with_their_nodes(slurm: Slurm) -> None:
    step = slurm.run("srun", "--nodes=2", "--ntasks=3", "--chdir", str(REPOSITORY), *DOCTOR, "--timeout", "60")
    assert step.returncode == 0, step.stderr
    rows = [line.split("  ") for line in step.stdout.splitlines() if " of 3" in line.split("  ")[0]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [(row[0], row[2], row[3]) for row in cells] == [
        ("0 of 3", "0", "0 of 2"),
        ("1 of 3", "0", "1 of 2"),
        ("2 of 3", "1", "0 of 1"),
    ]
    assert "world_size from SLURM_STEP_NUM_TASKS=3" in step.stdout
    assert ": right, median" in step.stdout


def test_a_rank_that_does_not_come_is_named_and_the_rest_is_told_all_the_same(slurm: Slurm) -> None:
    doctor = shlex.join([*DOCTOR, "--timeout", "15"])  # rank 0 imports torch before it listens
    one_sleeps = f"if [ $SLURM_PROCID = 1 ]; then sleep 150; else exec {doctor}; fi"
    step = slurm.run("srun", "--ntasks=3", "--chdir", str(REPOSITORY), "sh", "-c", one_sleeps, timeout=120)
    assert step.returncode != 0
    assert "did not report within 15 s: rank 1." in step.stdout
    assert "0 of 3" in step.stdout
    assert "rank 2 of 3" in step.stdout
    assert "all-reduce: not tried: the ranks have not met" in step.stdout
